//! Watches running containers: the exit fifo of their shim and a pidfd of their first process.
//!
//! Four bytes on the fifo: the exit record is durable, the container has ended. A hang-up after that: the shim has
//! left. A hang-up without it: the shim is lost; the container may live on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isulad_shim::sys::pidfd::{ExitInfo, PidFd};
use isulad_shim::{ExitRecord, ExitStatus as ShimStatus, ProcessRef, StateDir, state_dir};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::clock;
use crate::domain::container::{Cause, Command, Container, ExitStatus, Found};
use crate::domain::id::{ContainerId, Process, Signal, StartId, Timestamp};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::{Actor, Context};
use crate::sys;

/// Pid 1 may take a moment to reap an orphan, which is when the kernel tells its status.
const REAP_PATIENCE: Duration = Duration::from_secs(10);

/// Who is watched.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// Turns `true` when the shim has left.
    shims: Mutex<HashMap<ContainerId, (StartId, watch::Receiver<bool>)>>,
    /// Of containers whose shim was lost, for whoever looks after them next.
    bereft: Mutex<HashMap<ContainerId, Bereft>>,
}

/// What keeps a container without a shim whole until somebody looks after it again.
#[derive(Debug)]
pub struct Bereft {
    /// Knows the status even when the process is gone by then.
    pub pidfd: Option<PidFd>,
    /// Readers of its output: without any, what is still in the pipes would go with the container.
    _output: Vec<File>,
}

impl Bereft {
    /// A process that is gone already leaves nothing to hold on to, which is no error.
    pub fn open(process: ProcessRef, state: &StateDir) -> io::Result<Self> {
        let pidfd = match PidFd::open(process) {
            Ok(pidfd) => Some(pidfd),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { pidfd, _output: open_output(state) })
    }

    /// The process, while it runs.
    pub fn living(&self) -> Option<&PidFd> {
        self.pidfd.as_ref().filter(|pidfd| !pidfd.ended().unwrap_or(false))
    }
}

impl Supervisor {
    /// Waits until the container's shim has left; `false` when patience ended first.
    pub async fn shim_left(&self, id: &ContainerId, patience: Duration) -> bool {
        let watched = lock(&self.shims).get(id).map(|(_, left)| left.clone());
        let Some(mut left) = watched else { return true };
        tokio::time::timeout(patience, left.wait_for(|left| *left)).await.is_ok()
    }

    pub fn put_bereft(&self, id: ContainerId, bereft: Bereft) {
        lock(&self.bereft).insert(id, bereft);
    }

    pub fn take_bereft(&self, id: &ContainerId) -> Option<Bereft> {
        lock(&self.bereft).remove(id)
    }

    /// Shims being watched.
    pub fn count(&self) -> usize {
        lock(&self.shims).len()
    }
}

impl Engine {
    /// Watches from now on. `pidfd` is of the first process, when it still could be opened.
    pub fn supervise(self: &Arc<Self>, id: ContainerId, start: StartId, fifo: OwnedFd, pidfd: Option<PidFd>) {
        let (sender, receiver) = watch::channel(false);
        lock(&self.supervisor.shims).insert(id, (start, receiver));
        let engine = self.clone();
        self.tasks.spawn(async move {
            engine.watch(id, start, fifo, pidfd).await;
            sender.send_replace(true);
            let mut shims = lock(&engine.supervisor.shims);
            if shims.get(&id).is_some_and(|(watched, _)| *watched == start) {
                shims.remove(&id);
            }
        });
    }

    async fn watch(self: &Arc<Self>, id: ContainerId, start: StartId, fifo: OwnedFd, pidfd: Option<PidFd>) {
        let context = self.reporting();
        let fifo = match sys::watch(fifo) {
            Ok(fifo) => fifo,
            Err(error) => {
                self.warn(format!("container {}: its exit fifo cannot be watched: {error}", id.short()));
                return self.shim_lost(id, start, pidfd, &context).await;
            }
        };
        let told = wait_for_word(&fifo).await;
        failpoint::hit(failpoint::EXIT_SEEN);
        let Some(entity) = self.containers.get(&id) else { return };
        let container = &entity.container;
        match (self.exit_record(container, start).await, told) {
            (Some(found), _) => self.report_exit(id, &context, &found).await,
            // Told, yet no record: the disk failed the shim. What it said is the truth all the same.
            (None, Some(status)) => {
                self.warn(format!("container {}: the shim left no exit record", id.short()));
                let status = to_status(status, Cause::ShimLost);
                let exit = Command::ReportExit { start, status, at: clock::now(), oom: false, boot: self.boot };
                self.report(id, &context, exit).await;
            }
            (None, None) => return self.shim_lost(id, start, pidfd, &context).await,
        }
        failpoint::hit(failpoint::EXIT_RECORDED);
        let _ = tokio::time::timeout(Duration::from_secs(150), wait_for_hang_up(&fifo)).await;
    }

    pub async fn shim_lost(self: &Arc<Self>, id: ContainerId, start: StartId, pidfd: Option<PidFd>, context: &Context) {
        let Some(entity) = self.containers.get(&id) else { return };
        let bereft = Bereft { pidfd, _output: open_output(&self.state_dir(&entity.container)) };
        lock(&self.supervisor.bereft).insert(id, bereft);
        tracing::warn!(container_id = %id.short(), "the shim is lost");
        self.report(id, context, Command::ReportShimLost { start }).await;
        failpoint::hit(failpoint::SHIM_LOST_RECORDED);
    }

    pub async fn report_exit(self: &Arc<Self>, id: ContainerId, context: &Context, found: &Found) {
        let exit = Command::ReportExit {
            start: found.start,
            status: found.status,
            at: found.at,
            oom: found.oom,
            boot: self.boot,
        };
        self.report(id, context, exit).await;
    }

    /// The exit record of this start, if there is one.
    pub async fn exit_record(&self, container: &Container, start: StartId) -> Option<Found> {
        let path = self.bundle(container).exit_record();
        let read = tokio::task::spawn_blocking(move || ExitRecord::read(&path)).await;
        match read {
            Ok(Ok(record)) => record.map(to_found).filter(|found| found.start == start),
            Ok(Err(error)) => {
                self.warn(format!("container {}: {error}", container.id.short()));
                None
            }
            Err(_) => None,
        }
    }

    /// A report of the world. Trouble with the journal stops the daemon elsewhere.
    pub async fn report(self: &Arc<Self>, id: ContainerId, context: &Context, command: Command) {
        if let Err(error) = self.turn(id, context, &command).await {
            tracing::error!(container_id = %id.short(), %error, ?command, "a report could not be recorded");
        }
    }

    /// In the name of the engine itself.
    pub fn reporting(&self) -> Context {
        Context::new(Actor::Engine)
    }
}

/// Opening a fifo for reading without waiting never blocks.
fn open_output(state: &StateDir) -> Vec<File> {
    let open = |name| File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(state.file(name)).ok();
    [state_dir::STDOUT, state_dir::STDERR].into_iter().filter_map(open).collect()
}

/// The status of a process that has ended, by its pidfd alone.
pub async fn status_by_pidfd(pidfd: PidFd) -> ExitStatus {
    let waiting = async {
        drop(sys::watch(pidfd.as_fd().try_clone_to_owned()?)?.readable().await?);
        let deadline = tokio::time::Instant::now() + REAP_PATIENCE;
        loop {
            match pidfd.exit_info()? {
                ExitInfo::Known(status) => return io::Result::Ok(to_status(status, Cause::ShimLost)),
                ExitInfo::Unsupported => break,
                // No descriptor tells of the reaping by a stranger on every kernel: looked at again, for a short time.
                ExitInfo::NotYet if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                ExitInfo::NotYet => break,
            }
        }
        Ok(ExitStatus::Unknown(Cause::ShimLost))
    };
    waiting.await.unwrap_or(ExitStatus::Unknown(Cause::ShimLost))
}

pub fn to_found(record: ExitRecord) -> Found {
    Found {
        start: StartId(record.start),
        // Only the pid is recorded; the process is gone, so its start time serves nobody.
        process: Process { pid: record.pid.unsigned_abs(), start_time: 0 },
        status: to_status(record.status, Cause::ShimLost),
        at: Timestamp(record.at),
        oom: record.oom,
    }
}

fn to_status(status: ShimStatus, cause: Cause) -> ExitStatus {
    match status {
        ShimStatus::Code(code) => ExitStatus::Code(code),
        ShimStatus::Signal(signal) => ExitStatus::Signal(Signal(signal.into())),
        ShimStatus::Unknown => ExitStatus::Unknown(cause),
    }
}

/// The four bytes, or `None` when the fifo hung up without them.
async fn wait_for_word(fifo: &AsyncFd<OwnedFd>) -> Option<ShimStatus> {
    let mut bytes = [0; 4];
    match read_once(fifo, &mut bytes).await {
        Ok(4) => Some(ShimStatus::from_wire(bytes)),
        Ok(_) | Err(_) => None,
    }
}

async fn wait_for_hang_up(fifo: &AsyncFd<OwnedFd>) {
    let mut rest = [0; 16];
    while matches!(read_once(fifo, &mut rest).await, Ok(n) if n > 0) {}
}

async fn read_once(fifo: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut guard = fifo.readable().await?;
        if let Ok(read) = guard.try_io(|fifo| nix::unistd::read(fifo.get_ref(), buffer).map_err(io::Error::from)) {
            return read;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
