//! Run: creates and starts in one record, which is one sync less between the request and the runtime.

use std::sync::Arc;

use super::{ContainerSpec, prepare, record};
use crate::cancel::CancelToken;
use crate::clock;
use crate::containers::tasks::uncancelled;
use crate::containers::{AskedCommand, AttachGuard, ContainerError, StartFailure, start_outcome, started_by};
use crate::domain::container::{Card, Command};
use crate::domain::id::{ContainerId, StartId};
use crate::effects::FirstClient;
use crate::engine::Engine;
use crate::journal::record::Context;

/// A container that was recorded, with the outcome of its start.
#[derive(Debug)]
pub(crate) struct Ran {
    pub id: ContainerId,
    pub warnings: Vec<String>,
    pub failure: Option<StartFailure>,
}

/// Creates and starts a container. A caller that gives up before the record leaves nothing behind.
pub(crate) async fn run(engine: &Arc<Engine>, spec: ContainerSpec, context: &Context) -> Result<Ran, ContainerError> {
    let caller = Arc::new(());
    let (engine, context, cancel) = (engine.clone(), context.clone(), CancelToken::of(&caller));
    let ran = uncancelled(async move { run_wanted(&engine, spec, &cancel, &context).await }).await;
    drop(caller);
    ran
}

async fn run_wanted(
    engine: &Arc<Engine>,
    spec: ContainerSpec,
    caller: &CancelToken,
    context: &Context,
) -> Result<Ran, ContainerError> {
    let prepared = prepare(engine, spec, caller, context).await?;
    let (id, mut warnings) = (prepared.id, prepared.warnings.clone());
    let changes = engine.containers.listen(id);
    let start = Command::Start { boot: engine.node.boot, at: clock::now() };
    let turned = record(engine, prepared, &[start], caller, context).await?;
    let entity = engine.containers.get(&id);
    let mut asked = AskedCommand::of(turned, changes);
    let failure = match asked.events.iter().find_map(started_by) {
        Some(start) => match start_outcome(&mut asked, start).await {
            Some(outcome) => outcome.err(),
            None => Some(StartFailure { message: "the start has no outcome yet".to_owned(), code: 125 }),
        },
        None => None,
    };
    warnings.extend(entity.map_or_else(Vec::new, |entity| entity.take_warnings()));
    Ok(Ran { id, warnings, failure })
}

/// A container that is recorded and being started with a client attached.
#[derive(Debug)]
pub(crate) struct AttachedRun {
    pub id: ContainerId,
    pub card: Card,
    pub start: StartId,
    /// Listens for the outcome of the start.
    pub asked: AskedCommand,
    pub guard: AttachGuard,
    /// Of the creation.
    pub warnings: Vec<String>,
}

/// Creates a container and starts it with a client attached from the first byte, in one record, until which the caller
/// may go. `stdin`: the client gives input. The client waits for the launch until it is taken back.
pub(crate) async fn run_attached(
    engine: &Arc<Engine>,
    spec: ContainerSpec,
    (client, stdin): (FirstClient, bool),
    caller: &CancelToken,
    context: &Context,
) -> Result<AttachedRun, ContainerError> {
    let prepared = prepare(engine, spec, caller, context).await?;
    let (id, card, warnings) = (prepared.id, prepared.card.clone(), prepared.warnings.clone());
    let changes = engine.containers.listen(id);
    let mut guard = AttachGuard::for_new(engine, id, context, stdin, card.tty)?;
    engine.effects.put_first_client(id, context.operation, client);
    let start = Command::Start { boot: engine.node.boot, at: clock::now() };
    let turned = record(engine, prepared, &[start, guard.command(true)], caller, context).await;
    let turned = turned.inspect_err(|_| drop(engine.effects.take_first_client(&id, context.operation)))?;
    guard.recorded();
    let asked = AskedCommand::of(turned, changes);
    let start = asked.events.iter().find_map(started_by).ok_or(ContainerError::NotStarted)?;
    Ok(AttachedRun { id, card, start, asked, guard, warnings })
}
