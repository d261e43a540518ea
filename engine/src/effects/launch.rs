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

use super::deadlines::{ANSWER_DEADLINE, BEGIN_DEADLINE, COPY_PATIENCE, FILL_DEADLINE};
use super::network;
use super::release::{give_back, undo_start};
use crate::cancel;
use crate::clock;
use crate::domain::container::{Command, Phase};
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::effects::{ContainerEffects, FirstClient};
use crate::failpoint;
use crate::journal::record::Context;
use crate::network::record::Record;
use crate::records::{Containers, Entity, to_process, to_reference};
use crate::shim_process::{self, reap};
use crate::volume;
pub(super) use answer::{accept, read_outcome};
use begin::{SpawnedShim, begin, still_wanted};
pub(crate) use error::LaunchError;
use error::failure_of;

pub(super) async fn launch(effects: &Arc<ContainerEffects>, id: ContainerId, start: StartId, context: &Context) {
    failpoint::hit(failpoint::START_AFTER_INTENT);
    let client = effects.take_first_client(&id, context.operation);
    let Some(entity) = effects.containers.get(&id).filter(|entity| is_starting(entity, start)) else { return };
    // Held until the start has an outcome.
    let alone = entity.root_access().exclusive(COPY_PATIENCE, "started").await;
    let attempted = match &alone {
        Some(_) => attempt(effects, &entity, start, client, context).await,
        None => Err(LaunchError::Copies),
    };
    match attempted {
        Ok((ready, fifo)) => {
            failpoint::hit(failpoint::START_READY);
            report_started(effects, id, start, ready, fifo, context).await;
            failpoint::hit(failpoint::START_DONE);
        }
        Err(error) => {
            undo_start(effects, &entity.state).await;
            failpoint::hit(failpoint::START_UNDONE);
            report_failed(effects, id, start, &error, context).await;
        }
    }
}

/// An effect may run twice: the second time its start has an outcome, and nothing is done.
fn is_starting(entity: &Entity, start: StartId) -> bool {
    matches!(&entity.state.phase, Phase::Starting(starting) if starting.start == start)
}

/// Waits for the answer of a start that an earlier daemon began, while its shim is at work; by the attach socket, since
/// the pipe went with that daemon.
pub(crate) async fn await_launch(effects: &Arc<ContainerEffects>, id: ContainerId, start: StartId, context: &Context) {
    let Some(entity) = effects.containers.get(&id).filter(|entity| is_starting(entity, start)) else { return };
    let container = &entity.state;
    let state = effects.node.state_dir(container);
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
        Ok((ready, fifo)) => report_started(effects, id, start, ready, fifo, context).await,
        // The run may have started and ended during the request.
        Err(error) => match effects.supervisor.exit_record(container, start).await {
            Some(found) => {
                let started = Command::ReportStarted { start, process: found.process, shim: None, at: found.at };
                effects.containers.report(&id, context, started).await;
                effects.supervisor.report_exit(id, context, &found).await;
            }
            None => {
                undo_start(effects, container).await;
                report_failed(effects, id, start, &error, context).await;
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
    effects: &Arc<ContainerEffects>,
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
    effects.containers.report(&id, context, started).await;
    effects.supervisor.supervise(id, start, fifo, pidfd);
}

async fn report_failed(
    effects: &Arc<ContainerEffects>,
    id: ContainerId,
    start: StartId,
    error: &LaunchError,
    context: &Context,
) {
    let (code, message) = failure_of(error);
    let failed = Command::ReportStartFailed { start, code, message, at: clock::now() };
    effects.containers.report(&id, context, failed).await;
}

async fn attempt(
    effects: &Arc<ContainerEffects>,
    entity: &Arc<Entity>,
    start: StartId,
    client: Option<FirstClient>,
    context: &Context,
) -> Result<(Ready, OwnedFd), LaunchError> {
    let container = &entity.state;
    // Leftovers of an earlier release would be in the way, and the record, their only trace, must not be overwritten.
    let (state, record) = (effects.node.state_dir(container), effects.node.bundle(container).network().record);
    if tokio::fs::try_exists(state.path()).await.unwrap_or(true) || Record::is_at(&record).await {
        give_back(effects, container).await.map_err(|problem| LaunchError::Leftover { problem })?;
    }
    fill_volumes(effects, entity).await?;
    let attached = network::attach(effects, entity, start, context).await?;
    let spawned = {
        let (effects, entity) = (effects.clone(), entity.clone());
        cancel::blocking(move |cancel| begin(&effects, &entity, start, attached.as_ref(), client, cancel))
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
async fn fill_volumes(effects: &Arc<ContainerEffects>, entity: &Arc<Entity>) -> Result<(), LaunchError> {
    if effects
        .containers
        .cached_definition(entity)
        .is_some_and(|definition| definition.mounts.iter().all(|mount| !mount.copy))
    {
        return Ok(());
    }
    let (effects, entity) = (effects.clone(), entity.clone());
    let filling = cancel::blocking(move |cancel| {
        let _files = entity.hold_files();
        let definition = effects.containers.definition(&entity)?;
        let container = &entity.state;
        if !volume::are_to_be_filled(&effects.node, container, &definition) {
            return Ok(());
        }
        still_wanted(cancel)?;
        let rootfs = super::prepare::mount_root(&effects.node, container, &definition)?;
        let filled = volume::fill(&effects.node, container, &definition, &rootfs, &|| cancel.is_cancelled());
        if cancel.is_cancelled() {
            super::release::unmount(&effects.node, container);
        }
        Ok(filled?)
    });
    let filled = tokio::time::timeout(FILL_DEADLINE, filling).await.map_err(|_| LaunchError::SlowFill)?;
    filled.unwrap_or_else(|panic| Err(LaunchError::State { what: "fill volumes", source: io::Error::other(panic) }))
}

/// The first process of the container with the namespace to be joined; an error unless it lives.
pub(super) fn joined_process(
    containers: &Containers,
    other: &str,
    what: &'static str,
) -> Result<(ContainerId, ProcessRef), LaunchError> {
    let id: ContainerId = other.parse().map_err(|_| LaunchError::Refused {
        message: format!("`{other}`, whose {what} namespace is to be joined, is not a container's id"),
    })?;
    let run = containers.get(&id).and_then(|entity| entity.state.phase.run().cloned());
    let process = run.map(|run| to_reference(run.process)).filter(ProcessRef::alive);
    Ok((id, process.ok_or(LaunchError::NotJoinable { id, what })?))
}
