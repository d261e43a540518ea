//! OOM kills: processes of a container that the kernel has killed for want of memory, reported while the container
//! runs. (The kill of its first process is in the exit record as well, for which the shim reads the same counter.)
//!
//! One watch per running container: an event descriptor in version 1 of cgroups, a watch of the one inotify in version
//! 2. It ends with the first kill, since a run is marked only once. A cgroup without a memory controller, or for which
//! no watch can be made, is given up with a debug line.

mod changes;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::domain::container::Command;
use crate::domain::id::{ContainerId, StartId};
use crate::journal::record::{Actor, Context};
use crate::node::Node;
use crate::records::{Containers, Entity};
use crate::spec::GroupPath;
use crate::spec::cgroup::Version;
use crate::sys;
use changes::Changes;

/// The kernel signals the want of memory before it kills.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// Watches running containers for want of memory.
#[derive(Debug)]
pub(crate) struct OomWatch {
    node: Arc<Node>,
    containers: Arc<Containers>,
    changes: Changes,
}

impl OomWatch {
    pub(crate) fn new(node: Arc<Node>, containers: Arc<Containers>) -> Arc<Self> {
        Arc::new(Self { node, containers, changes: Changes::default() })
    }

    /// Reports the first kill; returns when no further report can follow. To be dropped with the run.
    pub(crate) async fn watch(&self, id: ContainerId, start: StartId) {
        let Some(entity) = self.containers.get(&id) else { return };
        if entity.state.phase.run().is_none_or(|run| run.start != start || run.oom) {
            return;
        }
        // With the entity: its state would be stale by the time of a report.
        let containers = self.containers.clone();
        let looking = tokio::task::spawn_blocking(move || containers.group(&entity.state));
        let Ok(Some(group)) = looking.await else { return };
        match self.killed(&group).await {
            Ok(true) => self.containers.report(&id, &Context::new(Actor::Engine), Command::ReportOom { start }).await,
            Ok(false) => {}
            Err(error) => tracing::debug!(container_id = %id.short(), %error, "memory is not watched"),
        }
    }

    /// Whether the container's cgroup has counted a kill; false when there is no cgroup any more.
    pub(crate) async fn has_killed(&self, entity: Arc<Entity>) -> bool {
        let (node, containers) = (self.node.clone(), self.containers.clone());
        let counting = tokio::task::spawn_blocking(move || {
            let group = containers.group(&entity.state)?;
            node.host.cgroups.oom_kills(&group).ok().flatten()
        });
        counting.await.ok().flatten().is_some_and(|kills| kills > 0)
    }

    /// Waits for a kill; `false` when the cgroup is gone or does not count.
    async fn killed(&self, group: &GroupPath) -> io::Result<bool> {
        let cgroups = &self.node.host.cgroups;
        let Some(file) = cgroups.oom_file(group) else { return Ok(false) };
        match cgroups.version() {
            Version::V2 => {
                let changes = self.changes.of(&self.node.tasks, &file)?;
                loop {
                    // The count is read after the watch was made: a kill in between is not missed.
                    match cgroups.oom_kills(group)? {
                        Some(0) => changes.next().await,
                        kills => return Ok(kills.is_some()),
                    }
                }
            }
            Version::V1 | Version::Hybrid => {
                let Some(control) = cgroups.event_control(group) else { return Ok(false) };
                let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                {
                    // The kernel needs this descriptor only for the registration.
                    let file = fs::File::open(&file)?;
                    fs::write(&control, format!("{} {}", event.as_raw_fd(), file.as_raw_fd()))?;
                }
                let event = sys::watch(event)?;
                // A want that was signalled just before the registration may have its kill still to come.
                let mut signalled = true;
                loop {
                    match settled(|| cgroups.oom_kills(group), signalled).await? {
                        Some(0) => {}
                        kills => return Ok(kills.is_some()),
                    }
                    signalled = loop {
                        let mut ready = event.readable().await?;
                        if read_event(event.as_fd()) {
                            break true;
                        }
                        ready.clear_ready();
                    };
                }
            }
        }
    }
}

/// The count, read again for a while when a want was signalled that it does not show yet.
async fn settled(count: impl Fn() -> io::Result<Option<u64>>, signalled: bool) -> io::Result<Option<u64>> {
    let deadline = tokio::time::Instant::now() + KILL_PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        let counted = count()?;
        if counted != Some(0) || !signalled || tokio::time::Instant::now() > deadline {
            return Ok(counted);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Takes the event from the descriptor; `false` when there is none.
fn read_event(event: BorrowedFd<'_>) -> bool {
    matches!(rustix::io::read(event, &mut [0; 8]), Ok(8))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_signalled_kill_is_waited_for() {
        let looks = Cell::new(0);
        let count = || {
            looks.set(looks.get() + 1);
            Ok(Some(u64::from(looks.get() > 2)))
        };
        assert_eq!(settled(count, false).await.unwrap(), Some(0));
        looks.set(0);
        assert_eq!(settled(count, true).await.unwrap(), Some(1));
        assert_eq!(looks.get(), 3);
    }
}
