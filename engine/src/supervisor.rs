//! Watches running containers: the exit FIFO of their shim and a pidfd of their first process.
//!
//! The shim's notice is four bytes on the FIFO: the exit record is durable, the container has ended. A hang-up after
//! the notice: the shim has left. A hang-up without it: the shim is lost; the container may still run.

mod exit;
mod notice;
mod orphan;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{pid_file, shims};
use tokio::sync::watch;

pub(crate) use orphan::OrphanHold;

use crate::cancel;
use crate::domain::container::{Cause, Container, ExitStatus};
use crate::domain::id::{ContainerId, StartId};
use crate::failpoint;
use crate::health::HealthWatch;
use crate::journal::record::{Actor, Context};
use crate::node::Node;
use crate::oom::OomWatch;
use crate::records::{Containers, to_reference};
use crate::shim_process::{self, status_by_pidfd, to_status};
use crate::sys;
use notice::Notice;

/// How long a shim may take to leave after its exit is recorded; it deletes the runtime's instance first.
const LEAVE_PATIENCE: Duration = Duration::from_secs(150);

/// The runs that are watched, and the holds on orphaned containers.
#[derive(Debug)]
pub(crate) struct Supervisor {
    node: Arc<Node>,
    containers: Arc<Containers>,
    health: Arc<HealthWatch>,
    oom: Arc<OomWatch>,
    /// Turns `true` when the shim has left.
    shims: Mutex<HashMap<ContainerId, (StartId, watch::Receiver<bool>)>>,
    /// Of containers that have lost their shim, for the adoption.
    orphans: Mutex<HashMap<(ContainerId, StartId), OrphanHold>>,
}

impl Supervisor {
    pub(crate) fn new(
        node: Arc<Node>,
        containers: Arc<Containers>,
        health: Arc<HealthWatch>,
        oom: Arc<OomWatch>,
    ) -> Arc<Self> {
        Arc::new(Self { node, containers, health, oom, shims: Mutex::default(), orphans: Mutex::default() })
    }

    /// Waits until the container's shim has left; `false` when patience ended first.
    pub(crate) async fn shim_left(&self, id: &ContainerId, patience: Duration) -> bool {
        let watched = lock(&self.shims).get(id).map(|(_, left)| left.clone());
        let Some(mut left) = watched else { return true };
        tokio::time::timeout(patience, left.wait_for(|left| *left)).await.is_ok()
    }

    /// Watches a run from now on. `pidfd` is of the first process, when it still could be opened.
    pub(crate) fn supervise(self: &Arc<Self>, id: ContainerId, start: StartId, fifo: OwnedFd, pidfd: Option<PidFd>) {
        let (sender, receiver) = watch::channel(false);
        let own = receiver.clone();
        lock(&self.shims).insert(id, (start, receiver));
        let supervisor = self.clone();
        self.node.tasks.spawn(async move {
            let watching = supervisor.watch(id, start, fifo, pidfd);
            let beside = async {
                // In boxes: a watch that the container does not have costs no memory while it runs.
                let memory = Box::pin(supervisor.oom.watch(id, start));
                let health = Box::pin(supervisor.health.watch(id, start));
                tokio::join!(memory, health);
                std::future::pending::<()>().await;
            };
            // The watches of memory and health end with the run.
            tokio::select! {
                () = watching => {}
                () = beside => {}
            }
            sender.send_replace(true);
            let mut shims = lock(&supervisor.shims);
            // An adopted shim may be watched under the same start by now.
            if shims.get(&id).is_some_and(|(_, watched)| watched.same_channel(&own)) {
                shims.remove(&id);
            }
        });
    }

    async fn watch(&self, id: ContainerId, start: StartId, fifo: OwnedFd, pidfd: Option<PidFd>) {
        let context = Context::new(Actor::Engine);
        let fifo = match sys::watch(fifo) {
            Ok(fifo) => fifo,
            Err(error) => {
                self.node.warn(format!("container {}: its exit fifo cannot be watched: {error}", id.short()));
                return self.shim_lost(id, start, pidfd, &context).await;
            }
        };
        // Readers from the end of the process on: output would be lost with a shim that dies before it has read it.
        let mut output = Vec::new();
        let hold = || {
            if let Some(entity) = self.containers.get(&id) {
                output = orphan::open_output(&self.node.state_dir(&entity.state));
            }
        };
        let notice = notice::wait_for_exit(&fifo, pidfd.as_ref(), hold, self.shim_end(id)).await;
        failpoint::hit(failpoint::EXIT_SEEN);
        let Some(entity) = self.containers.get(&id) else { return };
        let container = &entity.state;
        match (self.exit_record(container, start).await, notice) {
            (Some(found), _) => self.report_exit(id, &context, &found).await,
            // A notice without a record: the shim could not write to the disk. The status in the notice is still true.
            (None, Notice::Exited(status)) => {
                self.node.warn(format!("container {}: the shim left no exit record", id.short()));
                self.report_status(id, start, to_status(status, Cause::ShimLost), &context).await;
            }
            (None, Notice::HangUp) => {
                self.shim_lost(id, start, pidfd, &context).await;
                return drop(output);
            }
            (None, Notice::Overdue) => return self.end_hung_shim(container, start, pidfd, &context).await,
        }
        failpoint::hit(failpoint::EXIT_RECORDED);
        let left = async {
            tokio::select! {
                () = notice::wait_for_hang_up(&fifo) => {}
                // Where the FIFO that the shim holds is not this one any more.
                () = self.shim_end(id) => {}
            }
        };
        let _ = tokio::time::timeout(LEAVE_PATIENCE, left).await;
    }

    /// Ends a shim that does not report the end of its process, and records the end without it.
    async fn end_hung_shim(&self, container: &Container, start: StartId, pidfd: Option<PidFd>, context: &Context) {
        let id = container.id;
        self.node.warn(format!("container {}: the shim does not report the end of the process", id.short()));
        // After the shim its child is reaped by process 1, and the kernel gives the status from then on.
        if let Err(error) = shim_process::end_shim(&self.node.state_dir(container)).await {
            self.node.warn(format!("container {}: its shim cannot be ended: {error}", id.short()));
        }
        if let Some(found) = self.exit_record(container, start).await {
            return self.report_exit(id, context, &found).await;
        }
        let status = match pidfd {
            Some(pidfd) => status_by_pidfd(pidfd).await,
            None => ExitStatus::Unknown(Cause::ShimLost),
        };
        self.report_status(id, start, status, context).await;
    }

    /// Returns when the container's shim is gone; never, when its process is not known.
    async fn shim_end(&self, id: ContainerId) {
        let ended = async {
            let entity = self.containers.get(&id)?;
            let state = self.node.state_dir(&entity.state);
            let named = cancel::blocking(move |_| match shims::named(&state) {
                // No living process: the file still names the one that has ended.
                Ok(None) => pid_file::read(&state.shim_pid()).ok().flatten(),
                named => named.ok().flatten(),
            });
            let named = named.await.ok()?;
            let recorded = || entity.state.phase.run().and_then(|run| run.shim).map(to_reference);
            match PidFd::open(named.or_else(recorded)?) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some(()),
                opened => sys::watch(opened.ok()?.into()).ok()?.readable().await.ok().map(drop),
            }
        };
        if ended.await.is_none() {
            std::future::pending().await
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
