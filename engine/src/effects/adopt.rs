//! A container without a shim gets a new one. Where that cannot be, the daemon itself watches the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::spawn::{self, Mode};
use isulad_shim::{ProcessRef, Ready, StateDir, pid_file, shims};

use super::Effect;
use super::launch::{LaunchError, accept, read_outcome, reap, to_process, to_reference};
use super::prepare::state_error;
use super::release::{end_shims_but, living_shims};
use crate::clock;
use crate::domain::container::{Cause, Command, Container, ExitStatus};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::oom;
use crate::supervisor::{Bereft, status_by_pidfd};
use crate::sys;

/// No runtime is run for it.
const ADOPTION: Duration = Duration::from_secs(30);
/// Between attempts to start a shim that could not be started.
const RETRY: Duration = Duration::from_secs(10);
/// What is left of a shim that has hung up.
const LAST_MOMENTS: Duration = Duration::from_secs(5);
/// A shim drains the output of a process that has ended before it writes the record.
const LAST_WORDS: Duration = Duration::from_secs(60);

pub(super) async fn adopt(engine: &Arc<Engine>, id: ContainerId, start: StartId, context: &Context) {
    // Taken whatever follows: it must not outlive the run it is of.
    let held = engine.supervisor.take_bereft(&id, start);
    let Some(entity) = engine.containers.get(&id) else { return };
    let container = &entity.state;
    let Some(run) = container.phase.run().filter(|run| run.start == start && run.shim.is_none()) else { return };
    let process = to_reference(run.process);
    // What was opened while all was well knows the status even if the process is gone by now.
    let bereft = match held {
        Some(bereft) => Ok(bereft),
        None => Bereft::open(process, &engine.state_dir(container)),
    };
    let bereft = match bereft {
        Ok(bereft) => bereft,
        Err(error) => {
            engine.warn(format!("container {}: its process cannot be watched: {error}", id.short()));
            return try_again(engine, id, start, None, context);
        }
    };
    let Some(pidfd) = bereft.living() else {
        return report_end(engine, id, start, bereft, context).await;
    };
    last_shim_gone(&engine.state_dir(container)).await;
    match spawn_adopter(engine, container, process).await {
        Ok((ready, fifo)) => {
            let shim = to_process(ready.shim());
            engine.containers.report(&id, context, Command::ReportShimAdopted { start, shim }).await;
            failpoint::hit(failpoint::SHIM_ADOPTED);
            // Its output has a reader again.
            engine.supervise(id, start, fifo, bereft.pidfd);
        }
        Err(error) => {
            let problem = crate::cause::chain(&error);
            engine.warn(format!("container {}: no new shim could be started: {problem}", id.short()));
            let watched = pidfd.as_fd().try_clone_to_owned().ok();
            engine.supervisor.put_bereft(id, start, bereft);
            try_again(engine, id, start, watched, context);
        }
    }
}

/// Waits for the end of the shim that was lost: its descriptors are closed a moment before it is gone, and one that lives is in the
/// way of the next.
async fn last_shim_gone(state: &StateDir) {
    let leaving = |shim| sys::watch(PidFd::open(shim)?.into());
    if let Ok(Some(shim)) = shims::named(state)
        && let Ok(leaving) = leaving(shim)
    {
        let _ = tokio::time::timeout(LAST_MOMENTS, leaving.readable()).await;
    }
}

/// Another attempt when the process ends, or after a while.
pub(super) fn try_again(
    engine: &Arc<Engine>,
    id: ContainerId,
    start: StartId,
    pidfd: Option<OwnedFd>,
    context: &Context,
) {
    let (engine, context) = (engine.clone(), context.clone());
    let tasks = engine.tasks.clone();
    // Not in the queue of effects: a removal must not wait for it.
    tasks.spawn(async move {
        if let Some(Ok(pidfd)) = pidfd.map(sys::watch) {
            let _ = tokio::time::timeout(RETRY, pidfd.readable()).await;
        } else {
            tokio::time::sleep(RETRY).await;
        }
        engine.enqueue(id, Effect::Adopt { start }, &context);
    });
}

/// The end of a process that no shim holds, as far as we know: one that is at its last words knows more.
async fn report_end(engine: &Arc<Engine>, id: ContainerId, start: StartId, bereft: Bereft, context: &Context) {
    let Some(entity) = engine.containers.get(&id) else { return };
    let state = engine.state_dir(&entity.state);
    if let Ok(Some(shim)) = shims::named(&state)
        && let Ok(pidfd) = PidFd::open(shim)
        && let Ok(leaving) = sys::watch(pidfd.into())
    {
        let _ = tokio::time::timeout(LAST_WORDS, leaving.readable()).await;
    }
    save_output(engine, &entity.state, &bereft).await;
    let status = match bereft.pidfd {
        Some(pidfd) => status_by_pidfd(pidfd).await,
        None => ExitStatus::Unknown(Cause::ShimAndProcessLost),
    };
    if let Some(found) = engine.exit_record(&entity.state, start).await {
        return engine.report_exit(id, context, &found).await;
    }
    let oom = oom::has_killed(engine, &entity.state);
    let exit = Command::ReportExit { start, status, at: clock::now(), oom, boot: engine.boot };
    engine.containers.report(&id, context, exit).await;
}

/// What the container wrote last, to its log, by a shim that finds it ended. Where the process has not been reaped yet, that shim
/// adopts it for the moment, and writes an exit record.
async fn save_output(engine: &Arc<Engine>, container: &Container, bereft: &Bereft) {
    if bereft.has_output()
        && let Some(run) = container.phase.run()
        && let Ok((ready, _fifo)) = spawn_adopter(engine, container, to_reference(run.process)).await
        && let Ok(leaving) = PidFd::open(ready.shim()).and_then(|shim| sys::watch(shim.into()))
    {
        let _ = tokio::time::timeout(LAST_WORDS, leaving.readable()).await;
    }
}

async fn spawn_adopter(
    engine: &Arc<Engine>,
    container: &Container,
    process: ProcessRef,
) -> Result<(Ready, OwnedFd), LaunchError> {
    let state = engine.state_dir(container);
    let shim = engine.shim().ok_or_else(|| LaunchError::ShimMissing { path: engine.config.shim.clone() })?;
    let spawned = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || {
            // The last shim may have died before it wrote this, or it was damaged since; the next one goes by it.
            if pid_file::read(&state.pid()).ok().flatten() != Some(process) {
                pid_file::write(&state.pid(), process)
                    .map_err(|error| state_error("write the pid file", io::Error::other(error)))?;
            }
            let fifo = state.open_exit_fifo().map_err(|source| state_error("open the exit fifo", source))?;
            let before = living_shims(&state).map_err(|source| state_error("look for its shim", source))?;
            let (answer, ready) = io::pipe().map_err(|source| LaunchError::State { what: "make a pipe", source })?;
            let middle = spawn::start(&shim, Mode::Adopt, &state, ready.as_fd(), None)
                .map_err(|source| LaunchError::Spawn { path: shim, source })?;
            Ok((fifo, OwnedFd::from(answer), middle, before))
        })
    };
    let (fifo, answer, middle, before) = spawned
        .await
        .unwrap_or_else(|panic| Err(LaunchError::State { what: "start a shim", source: io::Error::other(panic) }))?;
    tokio::spawn(reap(middle));
    let answered = tokio::time::timeout(ADOPTION, read_outcome(answer, &state)).await;
    match answered.unwrap_or(Err(LaunchError::NoAnswer)) {
        Ok(outcome) => Ok((accept(outcome)?, fifo)),
        // One that hangs would be in the way of the next; one that was there before may still be at its last words.
        Err(error) => {
            let _ = end_shims_but(&state, &before).await;
            Err(error)
        }
    }
}
