//! The keeper of an exec: records how it ended and removes its directory, also when no caller waits for it.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::exec::{GO_MARKER, RELEASED};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{
    ExecRecord, ExitStatus as ShimStatus, PidFileError, ProcessRef, StateDir, pid_file, shims, state_dir, tree,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{ExecError, Execs};
use crate::cancel;
use crate::clock;
use crate::domain::container::{Cause, Command, ExitStatus};
use crate::domain::id::{ContainerId, SessionId, Timestamp};
use crate::failpoint;
use crate::journal::record::{Actor, Context};
use crate::rootfs::{self, Mounts};
use crate::session::Exit;
use crate::shim_process::{self, RUNTIME_DEADLINE, living_shims, status_by_pidfd};
use crate::sys;

/// The directory of all execs of a container, in its state directory.
pub(crate) const DIRECTORY: &str = "exec";
/// Before the id in the name of a directory without records in the journal.
pub(super) const PROBE: &str = "probe-";
/// How long a tree without a shim may take to end after it is killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts to look at a process or a file that could not be read.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often a record that cannot be read is read again.
const READS: u32 = 50;
/// The largest part of a shim's log that is passed on.
const LOG_LIMIT: u64 = 2048;
/// The status of an exec that could not be started, as of a command that the engine itself fails.
const FAILED: u8 = 125;

/// An exec and its place.
#[derive(Debug, Clone)]
pub(super) struct ExecRef {
    pub container: ContainerId,
    pub exec: SessionId,
    pub directory: StateDir,
    pub detached: bool,
}

/// The end of an exec, as it is recorded.
struct End {
    status: ExitStatus,
    at: Timestamp,
    lasted_ms: u64,
}

/// Starts the keeper of an exec. `child` sends the pid of the shim that this daemon spawns, if it does: a dropped
/// sender means that it could not; `recorded` sends whether the journal has a record of the exec; `done` is signalled
/// when nothing is left to do.
pub(super) fn keep(
    execs: &Arc<Execs>,
    target: ExecRef,
    child: Option<oneshot::Receiver<i32>>,
    recorded: oneshot::Receiver<bool>,
    done: oneshot::Sender<()>,
) {
    let (execs, guard) = (execs.clone(), execs.keepers.keep(target.container));
    execs.node.tasks.clone().spawn(async move {
        let started = match child {
            Some(child) => child.await.map(Some),
            None => Ok(None),
        };
        let reaping =
            started.as_ref().ok().copied().flatten().map(|child| execs.node.tasks.spawn(shim_process::reap(child)));
        let recorded = recorded.await.unwrap_or(false);
        let end = match started {
            Ok(_) => {
                await_shim_end(&execs, &target, reaping).await;
                failpoint::hit(failpoint::EXEC_EXITED);
                end_of(&execs, &target).await
            }
            Err(_) => End { status: ExitStatus::Code(FAILED), at: clock::now(), lasted_ms: 0 },
        };
        finish(&execs, &target, end, recorded).await;
        drop(guard);
        let _ = done.send(());
    });
}

/// Returns when the shim has left or has nothing more to do. `reaping` waits for the daemon's child that it was, or
/// began as.
async fn await_shim_end(execs: &Execs, target: &ExecRef, reaping: Option<JoinHandle<()>>) {
    let leaving = async {
        if let Some(reaping) = reaping {
            let _ = reaping.await;
        }
        // The shim of a detached exec. An attached one was the child itself.
        let directory = target.directory.clone();
        end_of_named(move || living_shims(&directory).map(|shims| shims.into_iter().next())).await;
    };
    tokio::select! {
        () = leaving => {}
        // The shim only serves a slow client any more.
        () = only_serves_client(execs, target) => {}
    }
}

/// Returns when the container has ended and the exec's record is there: the shim adds nothing more.
async fn only_serves_client(execs: &Execs, target: &ExecRef) {
    loop {
        execs.keepers.hurried().await;
        let entity = execs.containers.get(&target.container);
        let runs = entity.is_some_and(|entity| entity.state.phase.run().is_some());
        if !runs && target.directory.exit_fallback().exists() {
            return;
        }
    }
}

/// Waits for the end of the process that is found, if there is one.
async fn end_of_named(find: impl Fn() -> io::Result<Option<ProcessRef>> + Clone + Send + 'static) {
    loop {
        let find = find.clone();
        let waiting = async {
            let found = cancel::blocking(move |_| find()).await.map_err(io::Error::other)?;
            let Some(process) = found? else { return Ok(()) };
            let pidfd = match PidFd::open(process) {
                // A process that is gone has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => sys::watch(other?.into())?,
            };
            pidfd.readable().await.map(drop)
        };
        let ended: io::Result<()> = waiting.await;
        // Out of descriptors, most likely, which does not mean that the process has ended.
        if ended.is_ok() {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The record, if there is one. An error of the operating system is retried, since it does not mean that the record is
/// absent; damage stays and is returned.
async fn record_of(target: &ExecRef) -> io::Result<Option<ExecRecord>> {
    let mut read = ExecRecord::read(&target.directory);
    for _ in 0..READS {
        match &read {
            Err(error) if error.raw_os_error().is_some() => tokio::time::sleep(LOOK_AGAIN).await,
            Ok(_) | Err(_) => break,
        }
        read = ExecRecord::read(&target.directory);
    }
    read
}

/// Records the end, and clears up.
async fn finish(execs: &Arc<Execs>, target: &ExecRef, end: End, recorded: bool) {
    if recorded {
        let End { status, at, lasted_ms } = end;
        let exited = Command::ReportExecExited { exec: target.exec, status, at, lasted_ms };
        // Recorded before the directory, the only other trace of the end, is removed.
        execs.containers.report_recorded(&target.container, &Context::new(Actor::Engine), exited).await;
        failpoint::hit(failpoint::EXEC_END_RECORDED);
    }
    let (target, clearing) = (target.clone(), execs.clone());
    let _ = tokio::task::spawn_blocking(move || {
        pass_on_log(&clearing, &target);
        clear(&clearing, &target.directory);
    })
    .await;
    failpoint::hit(failpoint::EXEC_DONE);
}

async fn end_of(execs: &Arc<Execs>, target: &ExecRef) -> End {
    match record_of(target).await {
        Ok(Some(record)) => return recorded_end(&record),
        Ok(None) => {}
        Err(error) => execs.node.warn(format!(
            "container {}: exec {}: its end cannot be read: {error}",
            target.container.short(),
            target.exec
        )),
    }
    let unknown = |status| End { status, at: clock::now(), lasted_ms: 0 };
    // The shim was killed. It had been the parent of the process, if it had started it.
    end_runtime(execs, target).await;
    let Some(process) = process_of(execs, target) else {
        return unknown(ExitStatus::Unknown(Cause::ShimLost));
    };
    if !process.alive() {
        return unknown(ExitStatus::Unknown(Cause::ShimLost));
    }
    execs.node.warn(format!("container {}: the shim of exec {} was lost", target.container.short(), target.exec));
    if target.detached || target.directory.file(RELEASED).exists() {
        return match PidFd::open(process) {
            Ok(pidfd) => unknown(status_by_pidfd(pidfd).await),
            Err(_) => unknown(ExitStatus::Unknown(Cause::ShimLost)),
        };
    }
    kill_tree(execs, target, process).await;
    unknown(ExitStatus::Unknown(Cause::ShimLost))
}

/// Ends a runtime after its shim was killed: it must not start anything after the end is recorded. For a detached exec
/// it is waited for; otherwise it is killed with all that it has started so far.
async fn end_runtime(execs: &Execs, target: &ExecRef) {
    let file = target.directory.file(GO_MARKER);
    let Some(runtime) = pid_file::read(&file).ok().flatten().filter(ProcessRef::alive) else { return };
    // The exec's runtime has this file among its arguments, to write the process's pid to.
    if !shims::has_argument(runtime, &target.directory.file(state_dir::RUNTIME_PID)) {
        if runtime.alive() {
            let foreign = PidFileError::Foreign { path: file, pid: runtime.pid };
            execs.node.warn(format!("container {}: exec {}: {foreign}", target.container.short(), target.exec));
        }
        return;
    }
    if target.detached {
        let _ = tokio::time::timeout(RUNTIME_DEADLINE, end_of_named(move || Ok(Some(runtime)))).await;
    }
    if runtime.alive() {
        kill_tree(execs, target, runtime).await;
    }
}

async fn kill_tree(execs: &Execs, target: &ExecRef, root: ProcessRef) {
    let killed = tokio::task::spawn_blocking(move || tree::kill(&[root], KILL_LIMIT)).await;
    if !killed.unwrap_or(false) {
        execs.node.warn(format!(
            "container {}: the processes of exec {} cannot be killed",
            target.container.short(),
            target.exec
        ));
    }
}

/// The process of the exec by the shim's pid file, or, where there is none, by the runtime's; either way only if it is
/// in the container's cgroup. The runtime's file has the number alone, which may be another process's by now. A process
/// that started before the file was written is not such a one, since the number was not free from then on.
fn process_of(execs: &Execs, target: &ExecRef) -> Option<ProcessRef> {
    let in_container = |process: ProcessRef| {
        let entity = execs.containers.get(&target.container)?;
        let group = execs.containers.group(&entity.state)?;
        execs.node.host.cgroups.processes(&group).ok()?.contains(&process.pid).then_some(process)
    };
    if let Some(process) = pid_file::read(&target.directory.pid()).ok().flatten() {
        let own = in_container(process).filter(ProcessRef::alive);
        if own.is_none() && process.alive() {
            let foreign = PidFileError::Foreign { path: target.directory.pid(), pid: process.pid };
            execs.node.warn(format!("container {}: exec {}: {foreign}", target.container.short(), target.exec));
        }
        return own;
    }
    let file = target.directory.file(state_dir::RUNTIME_PID);
    let process = ProcessRef::of(std::fs::read_to_string(&file).ok()?.trim().parse().ok()?).ok()?;
    if !clock::started_by(process.start_time, std::fs::metadata(&file).ok()?.modified().ok()?) {
        return None;
    }
    // The start time proves nothing after the clock was set; the cgroup does.
    in_container(process)
}

fn recorded_end(record: &ExecRecord) -> End {
    let status = match &record.failed {
        Some(failed) => ExitStatus::Code(ExecError::code_of(failed)),
        None => status_of(record.status),
    };
    End { status, at: Timestamp(record.at), lasted_ms: record.lasted_ms }
}

/// The time of the exit, or at least of its arrival here.
pub(crate) fn ended_at(exit: Exit) -> Timestamp {
    exit.at.map_or_else(clock::now, Timestamp)
}

/// The domain's form of a status.
pub(crate) fn status_of(status: ShimStatus) -> ExitStatus {
    shim_process::to_status(status, Cause::ShimLost)
}

/// Passes a shim's last messages on to the daemon's log, since its own log is removed with its directory. Blocks.
fn pass_on_log(execs: &Execs, target: &ExecRef) {
    let Ok(mut file) = std::fs::File::open(target.directory.file(state_dir::SHIM_LOG)) else { return };
    let from = file.metadata().map_or(0, |metadata| metadata.len()).saturating_sub(LOG_LIMIT);
    let mut text = Vec::new();
    let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(LOG_LIMIT).read_to_end(&mut text));
    if read.is_ok() && !text.is_empty() {
        let text = String::from_utf8_lossy(&text);
        execs.node.warn(format!(
            "container {}: the shim of exec {} says: {}",
            target.container.short(),
            target.exec,
            text.trim_end()
        ));
    }
}

/// Removes the directory; a missing one is no error, and a failure is a warning. Blocks.
pub(super) fn clear(execs: &Execs, directory: &StateDir) {
    if let Err(error) = rootfs::remove_tree(directory.path(), Mounts::Detach) {
        execs.node.warn(format!("cannot remove `{}`: {error}", directory.path().display()));
    }
}
