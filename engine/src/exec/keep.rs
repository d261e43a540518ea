//! What becomes of a shim, whoever waits for it: how it ended is recorded, and its directory removed.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::exec::{GONE, RELEASED};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{
    ExecRecord, ExitStatus as ShimStatus, PidFileError, ProcessRef, StateDir, pid_file, shims, state_dir, tree,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::ExecError;
use crate::abandon;
use crate::clock;
use crate::domain::container::{Cause, Command, ExitStatus};
use crate::domain::id::{ContainerId, SessionId, Timestamp};
use crate::effects::{self, RUNTIME_DEADLINE};
use crate::engine::Engine;
use crate::failpoint;
use crate::rootfs::{self, Mounts};
use crate::session::Exit;
use crate::supervisor;
use crate::sys;

/// Of all execs of a container, in its state directory.
pub(crate) const DIRECTORY: &str = "exec";
/// Before the id in the name of a directory that the journal does not know of.
pub(super) const PROBE: &str = "probe-";
/// How long a tree without a shim may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at what could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often a record that cannot be read is read again.
const READS: u32 = 50;
/// As much of what a shim has said as is passed on.
const LAST_WORDS: u64 = 2048;
/// The status of what could not be started, as of a command that the engine itself fails.
const FAILED: u8 = 125;

/// Which exec.
#[derive(Debug, Clone)]
pub(super) struct Of {
    pub id: ContainerId,
    pub exec: SessionId,
    pub directory: StateDir,
    pub detached: bool,
}

/// What is known of an end.
struct End {
    status: ExitStatus,
    at: Timestamp,
    lasted_ms: u64,
}

/// Watches from now on. `child` tells of the process that this daemon spawns, if it does: dropped is that it could not;
/// `recorded` tells whether the journal knows of it; `done` hears when nothing is left to do.
pub(super) fn keep(
    engine: &Arc<Engine>,
    of: Of,
    child: Option<oneshot::Receiver<i32>>,
    recorded: oneshot::Receiver<bool>,
    done: oneshot::Sender<()>,
) {
    let (engine, kept) = (engine.clone(), engine.execs.keep(of.id));
    engine.tasks.clone().spawn(async move {
        let started = match child {
            Some(child) => child.await.map(Some),
            None => Ok(None),
        };
        let reaping = started.as_ref().ok().copied().flatten().map(|child| engine.tasks.spawn(effects::reap(child)));
        let recorded = recorded.await.unwrap_or(false);
        let end = match started {
            Ok(_) => {
                see_out(&engine, &of, reaping).await;
                failpoint::hit(failpoint::EXEC_EXITED);
                end_of(&engine, &of).await
            }
            Err(_) => End { status: ExitStatus::Code(FAILED), at: clock::now(), lasted_ms: 0 },
        };
        finish(&engine, &of, end, recorded).await;
        drop(kept);
        let _ = done.send(());
    });
}

/// Returns when nothing more will come of the shim. `reaping` waits for the child of ours that it was, or began as.
async fn see_out(engine: &Engine, of: &Of, reaping: Option<JoinHandle<()>>) {
    let leaving = async {
        if let Some(reaping) = reaping {
            let _ = reaping.await;
        }
        // The shim that stays. An attached one was the child.
        let directory = of.directory.clone();
        end_of_named(move || effects::living_shims(&directory).map(|shims| shims.into_iter().next())).await;
    };
    tokio::select! {
        () = leaving => {}
        // It only talks to a slow client any more.
        () = left_behind(engine, of) => {}
    }
}

/// Returns when the container has ended and the exec's record is there: nothing more will come of the shim.
async fn left_behind(engine: &Engine, of: &Of) {
    loop {
        engine.execs.hurried().await;
        let entity = engine.containers.get(&of.id);
        let runs = entity.is_some_and(|entity| entity.state.phase.run().is_some());
        if !runs && of.directory.exit_fallback().exists() {
            return;
        }
    }
}

/// Waits for the end of the process that is found, if there is one.
async fn end_of_named(find: impl Fn() -> io::Result<Option<ProcessRef>> + Clone + Send + 'static) {
    loop {
        let find = find.clone();
        let waiting = async {
            let found = abandon::blocking(move |_| find()).await.map_err(io::Error::other)?;
            let Some(process) = found? else { return Ok(()) };
            let pidfd = match PidFd::open(process) {
                // One that is gone is what is waited for.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => sys::watch(other?.into())?,
            };
            pidfd.readable().await.map(drop)
        };
        let ended: io::Result<()> = waiting.await;
        // Out of descriptors, most likely, which says nothing of the process.
        if ended.is_ok() {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The record, if there is one. Trouble with reading is not its absence, and passes; damage stays.
async fn record_of(of: &Of) -> io::Result<Option<ExecRecord>> {
    let mut read = ExecRecord::read(&of.directory);
    for _ in 0..READS {
        match &read {
            Err(error) if error.raw_os_error().is_some() => tokio::time::sleep(LOOK_AGAIN).await,
            Ok(_) | Err(_) => break,
        }
        read = ExecRecord::read(&of.directory);
    }
    read
}

/// Records the end, and clears up.
async fn finish(engine: &Arc<Engine>, of: &Of, end: End, recorded: bool) {
    if recorded {
        let End { status, at, lasted_ms } = end;
        let exited = Command::ReportExecExited { exec: of.exec, status, at, lasted_ms };
        // Recorded before its only other trace goes.
        engine.containers.report_recorded(&of.id, &engine.reporting(), exited).await;
        failpoint::hit(failpoint::EXEC_END_RECORDED);
    }
    let (of, clearing) = (of.clone(), engine.clone());
    let _ = tokio::task::spawn_blocking(move || {
        pass_on_words(&clearing, &of);
        clear(&clearing, &of.directory);
    })
    .await;
    failpoint::hit(failpoint::EXEC_DONE);
}

async fn end_of(engine: &Arc<Engine>, of: &Of) -> End {
    match record_of(of).await {
        Ok(Some(record)) => return told(&record),
        Ok(None) => {}
        Err(error) => {
            engine.warn(format!("container {}: exec {}: its end cannot be read: {error}", of.id.short(), of.exec))
        }
    }
    let unknown = |status| End { status, at: clock::now(), lasted_ms: 0 };
    // A shim that was killed. It had been the parent of what it started, if it came to that.
    end_runtime(engine, of).await;
    let Some(process) = process_of(engine, of) else {
        return unknown(ExitStatus::Unknown(Cause::ShimLost));
    };
    if !process.alive() {
        return unknown(ExitStatus::Unknown(Cause::ShimLost));
    }
    engine.warn(format!("container {}: the shim of exec {} was lost", of.id.short(), of.exec));
    if of.detached || of.directory.file(RELEASED).exists() {
        return match PidFd::open(process) {
            Ok(pidfd) => unknown(supervisor::status_by_pidfd(pidfd).await),
            Err(_) => unknown(ExitStatus::Unknown(Cause::ShimLost)),
        };
    }
    kill_tree(engine, of, process).await;
    unknown(ExitStatus::Unknown(Cause::ShimLost))
}

/// A runtime whose shim was killed meanwhile: nothing may come of it after its end is told. What a detached exec is to be
/// is finished; anything else goes with what it has started so far.
async fn end_runtime(engine: &Engine, of: &Of) {
    let file = of.directory.file(GONE);
    let Some(runtime) = pid_file::read(&file).ok().flatten().filter(ProcessRef::alive) else { return };
    // It was started with this file to write the process's number to.
    if !shims::has_argument(runtime, &of.directory.file(state_dir::RUNTIME_PID)) {
        if runtime.alive() {
            let foreign = PidFileError::Foreign { path: file, pid: runtime.pid };
            engine.warn(format!("container {}: exec {}: {foreign}", of.id.short(), of.exec));
        }
        return;
    }
    if of.detached {
        let _ = tokio::time::timeout(RUNTIME_DEADLINE, end_of_named(move || Ok(Some(runtime)))).await;
    }
    if runtime.alive() {
        kill_tree(engine, of, runtime).await;
    }
}

async fn kill_tree(engine: &Engine, of: &Of, root: ProcessRef) {
    let killed = tokio::task::spawn_blocking(move || tree::kill(&[root], KILL_LIMIT)).await;
    if !killed.unwrap_or(false) {
        engine.warn(format!("container {}: the processes of exec {} cannot be killed", of.id.short(), of.exec));
    }
}

/// By the shim's file, or, where it did not come to that, by the runtime's; either way only what is in the container's cgroup.
/// The runtime's file has the number alone, which may be
/// another process's by now: of a process that has started before the file was written, it cannot be, since the number was
/// not free from then on.
fn process_of(engine: &Engine, of: &Of) -> Option<ProcessRef> {
    let is_in_container = |process: ProcessRef| {
        let entity = engine.containers.get(&of.id)?;
        let group = engine.group(&entity.state)?;
        engine.host.cgroups.processes(&group).ok()?.contains(&process.pid).then_some(process)
    };
    if let Some(process) = pid_file::read(&of.directory.pid()).ok().flatten() {
        let own = is_in_container(process).filter(ProcessRef::alive);
        if own.is_none() && process.alive() {
            let foreign = PidFileError::Foreign { path: of.directory.pid(), pid: process.pid };
            engine.warn(format!("container {}: exec {}: {foreign}", of.id.short(), of.exec));
        }
        return own;
    }
    let file = of.directory.file(state_dir::RUNTIME_PID);
    let process = ProcessRef::of(std::fs::read_to_string(&file).ok()?.trim().parse().ok()?).ok()?;
    if !clock::started_by(process.start_time, std::fs::metadata(&file).ok()?.modified().ok()?) {
        return None;
    }
    // And where a clock was set: this one is in the container.
    is_in_container(process)
}

fn told(record: &ExecRecord) -> End {
    let status = match &record.failed {
        Some(failed) => ExitStatus::Code(ExecError::code_of(failed)),
        None => status_of(record.status),
    };
    End { status, at: Timestamp(record.at), lasted_ms: record.lasted_ms }
}

/// When it was, or at least was heard of.
pub fn ended_at(exit: Exit) -> Timestamp {
    exit.at.map_or_else(clock::now, Timestamp)
}

/// As the domain says it.
pub fn status_of(status: ShimStatus) -> ExitStatus {
    supervisor::to_status(status, Cause::ShimLost)
}

/// What a shim says of itself goes with its directory. Blocks.
fn pass_on_words(engine: &Engine, of: &Of) {
    let Ok(mut file) = std::fs::File::open(of.directory.file(state_dir::SHIM_LOG)) else { return };
    let from = file.metadata().map_or(0, |metadata| metadata.len()).saturating_sub(LAST_WORDS);
    let mut words = Vec::new();
    let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(LAST_WORDS).read_to_end(&mut words));
    if read.is_ok() && !words.is_empty() {
        let words = String::from_utf8_lossy(&words);
        engine.warn(format!("container {}: the shim of exec {} says: {}", of.id.short(), of.exec, words.trim_end()));
    }
}

/// Removes the directory; one that is gone is no trouble. Blocks.
pub(super) fn clear(engine: &Engine, directory: &StateDir) {
    if let Err(error) = rootfs::remove_tree(directory.path(), Mounts::Detach) {
        engine.warn(format!("cannot remove `{}`: {error}", directory.path().display()));
    }
}
