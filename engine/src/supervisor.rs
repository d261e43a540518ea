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
use isulad_shim::{ExitRecord, ExitStatus as ShimStatus, ProcessRef, StateDir, pid_file, shims, state_dir};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::abandon;
use crate::cause::chain;
use crate::clock;
use crate::domain::container::{Cause, Command, Container, ExitStatus, Found};
use crate::domain::id::{ContainerId, Process, Signal, StartId, Timestamp};
use crate::effects;
use crate::engine::Engine;
use crate::failpoint;
use crate::health;
use crate::journal::record::{Actor, Context};
use crate::oom;
use crate::sys;

/// Pid 1 may take a moment to reap an orphan, which is when the kernel tells its status.
const REAP_PATIENCE: Duration = Duration::from_secs(10);

/// A shim drains the container's output before it tells the end.
const WORD_PATIENCE: Duration = Duration::from_secs(60);

/// Who is watched.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// Turns `true` when the shim has left.
    shims: Mutex<HashMap<ContainerId, (StartId, watch::Receiver<bool>)>>,
    /// Of containers whose shim was lost, for whoever looks after them next.
    bereft: Mutex<HashMap<(ContainerId, StartId), Bereft>>,
}

/// What keeps a container without a shim whole until somebody looks after it again.
#[derive(Debug)]
pub struct Bereft {
    /// Knows the status even when the process is gone by then.
    pub pidfd: Option<PidFd>,
    /// Readers of its output: without any, what is still in the pipes would go with the container.
    output: Vec<File>,
}

impl Bereft {
    /// A process that is gone already leaves nothing to hold on to, which is no error.
    pub fn open(process: ProcessRef, state: &StateDir) -> io::Result<Self> {
        let pidfd = match PidFd::open(process) {
            Ok(pidfd) => Some(pidfd),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { pidfd, output: open_output(state) })
    }

    /// Whether it wrote something that nobody has read.
    pub fn has_output(&self) -> bool {
        self.output.iter().any(|fifo| rustix::io::ioctl_fionread(fifo).unwrap_or(0) > 0)
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

    pub fn put_bereft(&self, id: ContainerId, start: StartId, bereft: Bereft) {
        lock(&self.bereft).insert((id, start), bereft);
    }

    pub fn take_bereft(&self, id: &ContainerId, start: StartId) -> Option<Bereft> {
        lock(&self.bereft).remove(&(*id, start))
    }
}

impl Engine {
    /// Watches from now on. `pidfd` is of the first process, when it still could be opened.
    pub fn supervise(self: &Arc<Self>, id: ContainerId, start: StartId, fifo: OwnedFd, pidfd: Option<PidFd>) {
        let (sender, receiver) = watch::channel(false);
        let own = receiver.clone();
        lock(&self.supervisor.shims).insert(id, (start, receiver));
        let engine = self.clone();
        self.tasks.spawn(async move {
            let watching = engine.watch(id, start, fifo, pidfd);
            let beside = async {
                // In boxes: what a container does not have costs nothing while it runs.
                let (memory, health) =
                    (Box::pin(oom::watch(&engine, id, start)), Box::pin(health::watch(&engine, id, start)));
                tokio::join!(memory, health);
                std::future::pending::<()>().await;
            };
            // What is looked at beside ends with the run.
            tokio::select! {
                () = watching => {}
                () = beside => {}
            }
            sender.send_replace(true);
            let mut shims = lock(&engine.supervisor.shims);
            // An adopted shim may be watched under the same start by now.
            if shims.get(&id).is_some_and(|(_, watched)| watched.same_channel(&own)) {
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
        // From the end of the process on: a shim that dies before it has read the last words takes them along otherwise.
        let mut output = Vec::new();
        let hold = || {
            if let Some(entity) = self.containers.get(&id) {
                output = open_output(&self.state_dir(&entity.state));
            }
        };
        let told = word_or_end(&fifo, pidfd.as_ref(), hold, self.shim_end(id)).await;
        failpoint::hit(failpoint::EXIT_SEEN);
        let Some(entity) = self.containers.get(&id) else { return };
        let container = &entity.state;
        match (self.exit_record(container, start).await, told) {
            (Some(found), _) => self.report_exit(id, &context, &found).await,
            // Told, yet no record: the disk failed the shim. What it said is the truth all the same.
            (None, Heard::Word(status)) => {
                self.warn(format!("container {}: the shim left no exit record", id.short()));
                self.report_status(id, start, to_status(status, Cause::ShimLost), &context).await;
            }
            (None, Heard::HangUp) => {
                self.shim_lost(id, start, pidfd, &context).await;
                return drop(output);
            }
            // The shim hangs.
            (None, Heard::OnlyTheEnd) => {
                self.warn(format!("container {}: the shim does not tell the end of the process", id.short()));
                // Once it is gone its child is reaped by process 1, and then the kernel tells.
                if let Err(error) = effects::end_shim(&self.state_dir(container)).await {
                    self.warn(format!("container {}: its shim cannot be ended: {error}", id.short()));
                }
                if let Some(found) = self.exit_record(container, start).await {
                    return self.report_exit(id, &context, &found).await;
                }
                let status = match pidfd {
                    Some(pidfd) => status_by_pidfd(pidfd).await,
                    None => ExitStatus::Unknown(Cause::ShimLost),
                };
                return self.report_status(id, start, status, &context).await;
            }
        }
        failpoint::hit(failpoint::EXIT_RECORDED);
        let left = async {
            tokio::select! {
                () = wait_for_hang_up(&fifo) => {}
                // Where the fifo that it has is not this one any more.
                () = self.shim_end(id) => {}
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(150), left).await;
    }

    /// Returns when the container's shim is gone; never, when it is not known which process that is.
    async fn shim_end(&self, id: ContainerId) {
        let ended = async {
            let entity = self.containers.get(&id)?;
            let state = self.state_dir(&entity.state);
            let named = abandon::blocking(move |_| match shims::named(&state) {
                // One that is gone by now has ended.
                Ok(None) => pid_file::read(&state.shim_pid()).ok().flatten(),
                named => named.ok().flatten(),
            });
            let named = named.await.ok()?;
            let recorded = || entity.state.phase.run().and_then(|run| run.shim).map(effects::to_reference);
            match PidFd::open(named.or_else(recorded)?) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some(()),
                opened => sys::watch(opened.ok()?.into()).ok()?.readable().await.ok().map(drop),
            }
        };
        if ended.await.is_none() {
            std::future::pending().await
        }
    }

    async fn report_status(self: &Arc<Self>, id: ContainerId, start: StartId, status: ExitStatus, context: &Context) {
        // No record tells of it, but the cgroup may still do.
        let oom = self.containers.get(&id).is_some_and(|entity| oom::has_killed(self, &entity.state));
        let exit = Command::ReportExit { start, status, at: clock::now(), oom, boot: self.boot };
        self.containers.report(&id, context, exit).await;
    }

    pub async fn shim_lost(self: &Arc<Self>, id: ContainerId, start: StartId, pidfd: Option<PidFd>, context: &Context) {
        let Some(entity) = self.containers.get(&id) else { return };
        let bereft = Bereft { pidfd, output: open_output(&self.state_dir(&entity.state)) };
        self.supervisor.put_bereft(id, start, bereft);
        tracing::warn!(container_id = %id.short(), "the shim is lost");
        self.containers.report_recorded(&id, context, Command::ReportShimLost { start }).await;
        failpoint::hit(failpoint::SHIM_LOST_RECORDED);
        // Nobody adopts what has ended meanwhile.
        let run = self.containers.get(&id).and_then(|entity| entity.state.phase.run().cloned());
        if run.is_none_or(|run| run.start != start) {
            drop(self.supervisor.take_bereft(&id, start));
        }
    }

    pub async fn report_exit(self: &Arc<Self>, id: ContainerId, context: &Context, found: &Found) {
        let exit = Command::ReportExit {
            start: found.start,
            status: found.status,
            at: found.at,
            oom: found.oom,
            boot: self.boot,
        };
        self.containers.report(&id, context, exit).await;
    }

    /// The exit record of this start, if there is one: beside the bundle, or where a shim that met a full disk put it.
    pub async fn exit_record(&self, container: &Container, start: StartId) -> Option<Found> {
        let bundle = self.bundle(container);
        let places = [bundle.exit_record(), self.state_dir(container).exit_fallback()];
        let read = abandon::blocking(move |_| places.map(|path| ExitRecord::read(&path)));
        for record in read.await.ok()? {
            match record {
                Ok(Some(record)) if StartId(record.start) == start => return Some(to_found(record)),
                Ok(_) => {}
                Err(error) => self.warn(format!("container {}: {}", container.id.short(), chain(&error))),
            }
        }
        None
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

/// As the domain says it; `cause` is for what nobody knows.
pub fn to_status(status: ShimStatus, cause: Cause) -> ExitStatus {
    match status {
        ShimStatus::Code(code) => ExitStatus::Code(code),
        ShimStatus::Signal(signal) => ExitStatus::Signal(Signal(signal.into())),
        ShimStatus::Unknown => ExitStatus::Unknown(cause),
    }
}

/// What is known of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Word(ShimStatus),
    /// The fifo hung up without a word.
    HangUp,
    /// The process has ended, and the shim, which holds the fifo, does not say so.
    OnlyTheEnd,
}

/// The shim's word, also when it comes a while after the process has ended: output is drained first. A shim that is gone
/// says nothing more, also where the fifo is another one than it has: somebody has removed that. `at_the_end` is called when
/// the process has ended and the word is still to come.
async fn word_or_end(
    fifo: &AsyncFd<OwnedFd>,
    pidfd: Option<&PidFd>,
    at_the_end: impl FnOnce(),
    shim_end: impl Future<Output = ()>,
) -> Heard {
    let word = wait_for_word(fifo);
    tokio::pin!(word);
    tokio::select! {
        heard = &mut word => return heard,
        () = process_end(pidfd) => at_the_end(),
    }
    let word_or_silence = async {
        tokio::select! {
            heard = word => heard,
            // What it said before is there now.
            () = shim_end => said(fifo),
        }
    };
    tokio::time::timeout(WORD_PATIENCE, word_or_silence).await.unwrap_or(Heard::OnlyTheEnd)
}

/// What is in the fifo at this moment.
fn said(fifo: &AsyncFd<OwnedFd>) -> Heard {
    let mut bytes = [0; 4];
    match nix::unistd::read(fifo.get_ref(), &mut bytes) {
        Ok(4) => Heard::Word(ShimStatus::from_wire(bytes)),
        Ok(_) | Err(_) => Heard::HangUp,
    }
}

async fn process_end(pidfd: Option<&PidFd>) {
    let watched = pidfd.and_then(|pidfd| pidfd.as_fd().try_clone_to_owned().ok()).map(sys::watch);
    match watched {
        Some(Ok(pidfd)) => drop(pidfd.readable().await),
        // Not to be seen: the fifo alone tells.
        Some(Err(_)) | None => std::future::pending().await,
    }
}

async fn wait_for_word(fifo: &AsyncFd<OwnedFd>) -> Heard {
    let mut bytes = [0; 4];
    match read_once(fifo, &mut bytes).await {
        Ok(4) => Heard::Word(ShimStatus::from_wire(bytes)),
        Ok(_) | Err(_) => Heard::HangUp,
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
