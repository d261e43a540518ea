//! A container without a shim gets a new one. Where that cannot be, the daemon itself watches the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::spawn::{self, Mode};
use isulad_shim::{ProcessRef, Ready};

use super::launch::{LaunchError, accept, make_exit_fifo, read_outcome, reap, to_process};
use crate::clock;
use crate::domain::container::{Cause, Command, Container, ExitStatus};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::supervisor::status_by_pidfd;

pub(super) async fn adopt(engine: &Arc<Engine>, id: ContainerId, start: StartId, context: &Context) {
    let Some(entity) = engine.containers.get(&id) else { return };
    let container = &entity.container;
    let Some(run) = container.phase.run().filter(|run| run.start == start && run.shim.is_none()) else { return };
    let process = ProcessRef { pid: run.process.pid.cast_signed(), start_time: run.process.start_time };
    // The one that was opened while all was well knows the status even if the process is gone by now.
    let mut bereft = engine.supervisor.take_bereft(&id);
    let pidfd = bereft.as_mut().and_then(|bereft| bereft.pidfd.take()).or_else(|| PidFd::open(process).ok());
    let ended = pidfd.as_ref().is_none_or(|pidfd| pidfd.ended().unwrap_or(true));
    if ended {
        return watch_shimless(engine, id, start, pidfd, context).await;
    }
    match spawn_adopter(engine, container).await {
        Ok((ready, fifo)) => {
            // The new shim reads the output now.
            drop(bereft);
            let shim = to_process(ready.shim());
            engine.report(id, context, Command::ReportShimAdopted { start, shim }).await;
            failpoint::hit(failpoint::SHIM_ADOPTED);
            engine.supervise(id, start, fifo, pidfd);
        }
        Err(error) => {
            let problem = crate::api::chain(&error);
            engine.warn(format!("container {}: no new shim could be started: {problem}", id.short()));
            let engine = engine.clone();
            let context = context.clone();
            // Not in the queue of effects: it ends with the container.
            let tasks = engine.tasks.clone();
            tasks.spawn(async move { watch_shimless(&engine, id, start, pidfd, &context).await });
        }
    }
}

/// Waits for the end of a process that no shim holds, and reports it.
pub async fn watch_shimless(
    engine: &Arc<Engine>,
    id: ContainerId,
    start: StartId,
    pidfd: Option<PidFd>,
    context: &Context,
) {
    let status = match pidfd {
        Some(pidfd) => status_by_pidfd(pidfd).await,
        None => ExitStatus::Unknown(Cause::ShimAndProcessLost),
    };
    let Some(entity) = engine.containers.get(&id) else { return };
    // A shim may have written the record with its last breath.
    if let Some(found) = engine.exit_record(&entity.container, start).await {
        return engine.report_exit(id, context, &found).await;
    }
    let exit = Command::ReportExit { start, status, at: clock::now(), oom: false, boot: engine.boot };
    engine.report(id, context, exit).await;
}

async fn spawn_adopter(engine: &Arc<Engine>, container: &Container) -> Result<(Ready, OwnedFd), LaunchError> {
    let state = engine.state_dir(container);
    let shim = engine.shim().ok_or_else(|| LaunchError::ShimMissing { path: engine.config.shim.clone() })?;
    let spawned = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || {
            let fifo = make_exit_fifo(&state)?;
            let (answer, ready) = io::pipe().map_err(|source| LaunchError::State { what: "make a pipe", source })?;
            let middle = spawn::start(&shim, Mode::Adopt, &state, ready.as_fd(), None)
                .map_err(|source| LaunchError::Spawn { path: shim, source })?;
            Ok((fifo, OwnedFd::from(answer), middle))
        })
    };
    let (fifo, answer, middle) = spawned
        .await
        .unwrap_or_else(|panic| Err(LaunchError::State { what: "start a shim", source: io::Error::other(panic) }))?;
    tokio::spawn(reap(middle));
    let outcome = read_outcome(answer, &state).await?;
    Ok((accept(outcome)?, fifo))
}
