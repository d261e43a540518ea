//! Adoption: starts a new shim for a container after the loss of its shim. Where that fails, the daemon itself watches
//! the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::spawn::{self, Mode};
use isulad_shim::{ProcessRef, Ready, StateDir, pid_file, shims};

use super::Effect;
use super::deadlines::{ADOPTION, DRAIN_PATIENCE, EXIT_PATIENCE};
use super::launch::{LaunchError, accept, read_outcome};
use super::prepare::state_error;
use crate::domain::container::{Cause, Command, Container, ExitStatus};
use crate::domain::id::{ContainerId, StartId};
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::Context;
use crate::records::{to_process, to_reference};
use crate::shim_process::{end_shims_but, living_shims, reap, status_by_pidfd};
use crate::supervisor::OrphanHold;
use crate::sys;

/// Between attempts to start a shim, after one has failed.
const RETRY: Duration = Duration::from_secs(10);

pub(super) async fn adopt(effects: &Arc<ContainerEffects>, id: ContainerId, start: StartId, context: &Context) {
    // Taken in any case: the hold must not outlive its run.
    let hold = effects.supervisor.take_orphan(&id, start);
    let Some(entity) = effects.containers.get(&id) else { return };
    let container = &entity.state;
    let Some(run) = container.phase.run().filter(|run| run.start == start && run.shim.is_none()) else { return };
    let process = to_reference(run.process);
    // A hold from before the loss gives the exit status even if the process is gone by now.
    let hold = match hold {
        Some(hold) => Ok(hold),
        None => OrphanHold::open(process, &effects.node.state_dir(container)),
    };
    let hold = match hold {
        Ok(hold) => hold,
        Err(error) => {
            effects.node.warn(format!("container {}: its process cannot be watched: {error}", id.short()));
            return try_again(effects, id, start, None, context);
        }
    };
    let Some(pidfd) = hold.living() else {
        return report_end(effects, id, start, hold, context).await;
    };
    last_shim_gone(&effects.node.state_dir(container)).await;
    match spawn_adopter(effects, container, process).await {
        Ok((ready, fifo)) => {
            let shim = to_process(ready.shim());
            effects.containers.report(&id, context, Command::ReportShimAdopted { start, shim }).await;
            failpoint::hit(failpoint::SHIM_ADOPTED);
            // The shim reads the output now, so the hold's readers may go.
            effects.supervisor.supervise(id, start, fifo, hold.pidfd);
        }
        Err(error) => {
            let problem = crate::cause::chain(&error);
            effects.node.warn(format!("container {}: no new shim could be started: {problem}", id.short()));
            let watched = pidfd.as_fd().try_clone_to_owned().ok();
            effects.supervisor.put_orphan(id, start, hold);
            try_again(effects, id, start, watched, context);
        }
    }
}

/// Waits for the end of the lost shim: its descriptors are closed a moment before its end, and a living shim would
/// block the next one.
async fn last_shim_gone(state: &StateDir) {
    let leaving = |shim| sys::watch(PidFd::open(shim)?.into());
    if let Ok(Some(shim)) = shims::named(state)
        && let Ok(leaving) = leaving(shim)
    {
        let _ = tokio::time::timeout(EXIT_PATIENCE, leaving.readable()).await;
    }
}

/// Makes another attempt when the process ends, or after a while.
pub(super) fn try_again(
    effects: &Arc<ContainerEffects>,
    id: ContainerId,
    start: StartId,
    pidfd: Option<OwnedFd>,
    context: &Context,
) {
    let (effects, context) = (effects.clone(), context.clone());
    let tasks = effects.node.tasks.clone();
    // Not in the queue of effects: a removal must not wait for it.
    tasks.spawn(async move {
        if let Some(Ok(pidfd)) = pidfd.map(sys::watch) {
            let _ = tokio::time::timeout(RETRY, pidfd.readable()).await;
        } else {
            tokio::time::sleep(RETRY).await;
        }
        effects.enqueue(id, Effect::Adopt { start }, &context);
    });
}

/// Reports the end of a process without a shim. A shim that is still draining output is waited for, since its exit
/// record has the exact status and time.
async fn report_end(
    effects: &Arc<ContainerEffects>,
    id: ContainerId,
    start: StartId,
    hold: OrphanHold,
    context: &Context,
) {
    let Some(entity) = effects.containers.get(&id) else { return };
    let state = effects.node.state_dir(&entity.state);
    if let Ok(Some(shim)) = shims::named(&state)
        && let Ok(pidfd) = PidFd::open(shim)
        && let Ok(leaving) = sys::watch(pidfd.into())
    {
        let _ = tokio::time::timeout(DRAIN_PATIENCE, leaving.readable()).await;
    }
    save_output(effects, &entity.state, &hold).await;
    let status = match hold.pidfd {
        Some(pidfd) => status_by_pidfd(pidfd).await,
        None => ExitStatus::Unknown(Cause::ShimAndProcessLost),
    };
    if let Some(found) = effects.supervisor.exit_record(&entity.state, start).await {
        return effects.supervisor.report_exit(id, context, &found).await;
    }
    effects.supervisor.report_status(id, start, status, context).await;
}

/// Saves the container's last output to its log, by a shim that finds the process ended. Where the process has not been
/// reaped yet, that shim adopts it for the moment, and writes an exit record. Best effort.
async fn save_output(effects: &Arc<ContainerEffects>, container: &Container, hold: &OrphanHold) {
    if hold.has_output()
        && let Some(run) = container.phase.run()
        && let Ok((ready, _fifo)) = spawn_adopter(effects, container, to_reference(run.process)).await
        && let Ok(leaving) = PidFd::open(ready.shim()).and_then(|shim| sys::watch(shim.into()))
    {
        let _ = tokio::time::timeout(DRAIN_PATIENCE, leaving.readable()).await;
    }
}

async fn spawn_adopter(
    effects: &Arc<ContainerEffects>,
    container: &Container,
    process: ProcessRef,
) -> Result<(Ready, OwnedFd), LaunchError> {
    let state = effects.node.state_dir(container);
    let shim =
        effects.node.shim().ok_or_else(|| LaunchError::ShimMissing { path: effects.node.config.shim.clone() })?;
    let spawned = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || {
            // The last shim may have died before it wrote this file, or it was damaged since; the adopting shim reads
            // it.
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
        // A shim that hangs would block the next one; one that was there before may still be draining output.
        Err(error) => {
            let _ = end_shims_but(&state, &before).await;
            Err(error)
        }
    }
}
