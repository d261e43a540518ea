//! Starts a container: root filesystem, spec, shim. One blocking preparation, one process spawn, one answer awaited on
//! a pipe. A failed start is undone before the failure is reported.

mod answer;
mod begin;
mod describe;
mod error;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{Outcome, ProcessRef, Ready, StateDir, shims};

use super::network;
use super::release::{give_back, undo_start};
use crate::cancel;
use crate::clock;
use crate::domain::container::{Command, Phase};
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::engine::{Engine, FirstClient};
use crate::failpoint;
use crate::journal::record::Context;
use crate::network::record::Record;
use crate::records::{Entity, to_process, to_reference};
use crate::shim_process::{self, RUNTIME_DEADLINE, reap};
use crate::volume;
pub(super) use answer::{accept, read_outcome};
use begin::{SpawnedShim, begin, still_wanted};
pub(crate) use error::LaunchError;
use error::failure_of;

/// How long copies of a container's files may go on before a start ends them.
const COPY_PATIENCE: Duration = Duration::from_secs(10);
/// The preparation mounts and writes files: one that takes longer hangs.
const BEGIN_DEADLINE: Duration = Duration::from_secs(60);
/// Limit for copying an image's files into new volumes.
const FILL_DEADLINE: Duration = Duration::from_secs(240);
/// The shim answers within the runtime's deadlines (the run, and the undoing of a failed one) and some time of its own.
const ANSWER_DEADLINE: Duration = RUNTIME_DEADLINE.saturating_mul(2).saturating_add(Duration::from_secs(20));

pub(super) async fn launch(engine: &Arc<Engine>, id: ContainerId, start: StartId, context: &Context) {
    failpoint::hit(failpoint::START_AFTER_INTENT);
    let client = engine.take_first_client(&id, context.operation);
    let Some(entity) = engine.containers.get(&id).filter(|entity| is_starting(entity, start)) else { return };
    // Held until the start has an outcome.
    let alone = entity.root_access().exclusive(COPY_PATIENCE, "started").await;
    let attempted = match &alone {
        Some(_) => attempt(engine, &entity, start, client, context).await,
        None => Err(LaunchError::Copies),
    };
    match attempted {
        Ok((ready, fifo)) => {
            failpoint::hit(failpoint::START_READY);
            report_started(engine, id, start, ready, fifo, context).await;
            failpoint::hit(failpoint::START_DONE);
        }
        Err(error) => {
            undo_start(engine, &entity.state).await;
            failpoint::hit(failpoint::START_UNDONE);
            report_failed(engine, id, start, &error, context).await;
        }
    }
}

/// An effect may run twice: the second time its start has an outcome, and nothing is done.
fn is_starting(entity: &Entity, start: StartId) -> bool {
    matches!(&entity.state.phase, Phase::Starting(starting) if starting.start == start)
}

/// Waits for the answer of a start that an earlier daemon began, while its shim is at work; by the attach socket, since
/// the pipe went with that daemon.
pub(crate) async fn await_launch(engine: &Arc<Engine>, id: ContainerId, start: StartId, context: &Context) {
    let Some(entity) = engine.containers.get(&id).filter(|entity| is_starting(entity, start)) else { return };
    let container = &entity.state;
    let state = engine.node.state_dir(container);
    let asked = async {
        let fifo =
            state.open_exit_fifo().map_err(|source| LaunchError::State { what: "open the exit fifo", source })?;
        let answer = tokio::time::timeout(ANSWER_DEADLINE, ask_while_it_lives(&state)).await;
        let outcome = answer
            .map_err(|_| LaunchError::NoAnswer)?
            .map_err(|_| LaunchError::ShimDied { log: state.file(isulad_shim::state_dir::SHIM_LOG) })?;
        Ok((accept(outcome)?, fifo))
    };
    match asked.await {
        Ok((ready, fifo)) => report_started(engine, id, start, ready, fifo, context).await,
        // The run may have started and ended during the request.
        Err(error) => match engine.supervisor.exit_record(container, start).await {
            Some(found) => {
                let started = Command::ReportStarted { start, process: found.process, shim: None, at: found.at };
                engine.containers.report(&id, context, started).await;
                engine.supervisor.report_exit(id, context, &found).await;
            }
            None => {
                undo_start(engine, container).await;
                report_failed(engine, id, start, &error, context).await;
            }
        },
    }
}

/// Asks until the shim answers or is gone: a shim that has just spawned does not listen yet.
async fn ask_while_it_lives(state: &StateDir) -> io::Result<Outcome> {
    loop {
        let error = match shim_process::ask_status(state).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let lives = shims::named(state).ok().flatten().is_some();
        if !lives || !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report_started(
    engine: &Arc<Engine>,
    id: ContainerId,
    start: StartId,
    ready: Ready,
    fifo: OwnedFd,
    context: &Context,
) {
    let process = to_process(ready.process());
    // Opened before the event: from here on the exit status cannot be lost, even if the shim is.
    let pidfd = PidFd::open(ready.process()).ok();
    let started =
        Command::ReportStarted { start, process, shim: Some(to_process(ready.shim())), at: Timestamp(ready.at) };
    engine.containers.report(&id, context, started).await;
    engine.supervisor.supervise(id, start, fifo, pidfd);
}

async fn report_failed(engine: &Arc<Engine>, id: ContainerId, start: StartId, error: &LaunchError, context: &Context) {
    let (code, message) = failure_of(error);
    let failed = Command::ReportStartFailed { start, code, message, at: clock::now() };
    engine.containers.report(&id, context, failed).await;
}

async fn attempt(
    engine: &Arc<Engine>,
    entity: &Arc<Entity>,
    start: StartId,
    client: Option<FirstClient>,
    context: &Context,
) -> Result<(Ready, OwnedFd), LaunchError> {
    let container = &entity.state;
    // Leftovers of an earlier release would be in the way, and the record, their only trace, must not be overwritten.
    let (state, record) = (engine.node.state_dir(container), engine.node.bundle(container).network().record);
    if tokio::fs::try_exists(state.path()).await.unwrap_or(true) || Record::is_at(&record).await {
        give_back(engine, container).await.map_err(|problem| LaunchError::Leftover { problem })?;
    }
    fill_volumes(engine, entity).await?;
    let attached = network::attach(engine, entity, start, context).await?;
    let spawned = {
        let (engine, entity) = (engine.clone(), entity.clone());
        cancel::blocking(move |cancel| begin(&engine, &entity, start, attached.as_ref(), client, cancel))
    };
    let spawned = tokio::time::timeout(BEGIN_DEADLINE, spawned).await.map_err(|_| LaunchError::Slow)?;
    let SpawnedShim { state, fifo, answer, middle, joined } = spawned.unwrap_or_else(|panic| {
        Err(LaunchError::State { what: "prepare the start", source: io::Error::other(panic) })
    })?;
    tokio::spawn(reap(middle));
    let outcome = read_outcome(answer, &state).await?;
    let ready = accept(outcome)?;
    // A joined process that still lives has lived all the time: the namespace that was opened by its pid was its own.
    match joined.iter().find(|(_, process)| !process.alive()) {
        Some((id, _)) => Err(LaunchError::NotJoinable { id: *id, what: "joined" }),
        None => Ok((ready, fifo)),
    }
}

/// Fills new volumes before the other steps of a first start, with a deadline of its own: only this step's length
/// depends on the user's data.
async fn fill_volumes(engine: &Arc<Engine>, entity: &Arc<Entity>) -> Result<(), LaunchError> {
    if engine
        .containers
        .cached_definition(entity)
        .is_some_and(|definition| definition.mounts.iter().all(|mount| !mount.copy))
    {
        return Ok(());
    }
    let (engine, entity) = (engine.clone(), entity.clone());
    let filling = cancel::blocking(move |cancel| {
        let _files = entity.hold_files();
        let definition = engine.containers.definition(&entity)?;
        let container = &entity.state;
        if !volume::are_to_be_filled(&engine.node, container, &definition) {
            return Ok(());
        }
        still_wanted(cancel)?;
        let rootfs = super::prepare::mount_root(&engine, container, &definition)?;
        let filled = volume::fill(&engine.node, container, &definition, &rootfs, &|| cancel.is_cancelled());
        if cancel.is_cancelled() {
            super::release::unmount(&engine, container);
        }
        Ok(filled?)
    });
    let filled = tokio::time::timeout(FILL_DEADLINE, filling).await.map_err(|_| LaunchError::SlowFill)?;
    filled.unwrap_or_else(|panic| Err(LaunchError::State { what: "fill volumes", source: io::Error::other(panic) }))
}

/// The first process of the container with the namespace to be joined; an error unless it lives.
pub(super) fn joined_process(
    engine: &Engine,
    other: &str,
    what: &'static str,
) -> Result<(ContainerId, ProcessRef), LaunchError> {
    let id: ContainerId = other.parse().map_err(|_| LaunchError::Refused {
        message: format!("`{other}`, whose {what} namespace is to be joined, is not a container's id"),
    })?;
    let run = engine.containers.get(&id).and_then(|entity| entity.state.phase.run().cloned());
    let process = run.map(|run| to_reference(run.process)).filter(ProcessRef::alive);
    Ok((id, process.ok_or(LaunchError::NotJoinable { id, what })?))
}
