//! Start: answered when the outcome is recorded.

use std::sync::Arc;
use std::time::Duration;

use super::{AskedCommand, AttachGuard, ContainerError, Target, Verb};
use crate::clock;
use crate::domain::container::{Command, Event};
use crate::domain::id::{ContainerId, StartId};
use crate::effects::{FirstClient, LAUNCH_LIMIT};
use crate::engine::Engine;
use crate::journal::record::{Context, OperationId};

/// Longer than a launch may take, so that its outcome comes first.
const PATIENCE: Duration = LAUNCH_LIMIT.saturating_add(Duration::from_secs(60));

/// The outcome of a request to start.
#[derive(Debug)]
pub(crate) enum StartOutcome {
    /// With the differences of the start from its request.
    Started {
        start: StartId,
        warnings: Vec<String>,
    },
    Failed(StartFailure),
    /// The container was running already.
    AlreadyRunning,
}

/// Why a process does not run, with the exit code that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub message: String,
    pub code: u8,
}

/// Starts a container. A client is attached from the first byte, and recorded with the start. The failure of the start
/// itself is an answer, not an error.
pub(crate) async fn start(
    engine: &Arc<Engine>,
    target: Target<'_>,
    attached: Option<(FirstClient, &mut AttachGuard)>,
    context: &Context,
) -> Result<StartOutcome, ContainerError> {
    let entity = target.entity(engine)?;
    let boot = engine.node.boot;
    let (client, guard) = attached.unzip();
    let left = client.map(|client| WaitingClient::put(engine, target.id, context.operation, client));
    let commands = || {
        let start = Command::Start { boot, at: clock::now() };
        std::iter::once(start).chain(guard.as_ref().map(|guard| guard.command(true))).collect()
    };
    let mut asked = AskedCommand::ask(&engine.containers, target, Verb::Start, context, commands).await?;
    if let Some(guard) = guard {
        guard.recorded();
    }
    let Some(start) = asked.events.iter().find_map(started_by) else { return Ok(StartOutcome::AlreadyRunning) };
    let outcome = start_outcome(&mut asked, start).await;
    drop(left);
    match outcome {
        Some(Ok(())) => Ok(StartOutcome::Started { start, warnings: entity.take_warnings() }),
        Some(Err(failure)) => Ok(StartOutcome::Failed(failure)),
        None => Err(no_outcome(target)),
    }
}

/// The outcome of a start; `None` when it is not recorded in time, or the daemon stops first.
pub(crate) async fn start_outcome(asked: &mut AskedCommand, start: StartId) -> Option<Result<(), StartFailure>> {
    asked.until(PATIENCE, |event| outcome_of(event, start)).await
}

pub(super) fn no_outcome(target: Target<'_>) -> ContainerError {
    ContainerError::NoOutcome { operation: "start", reference: target.reference.to_owned() }
}

/// Keeps a first client ready for the launch; dropped, it takes the client back if the launch did not come, or the
/// request was given up.
struct WaitingClient {
    engine: Arc<Engine>,
    id: ContainerId,
    operation: OperationId,
}

impl WaitingClient {
    fn put(engine: &Arc<Engine>, id: ContainerId, operation: OperationId, client: FirstClient) -> Self {
        engine.effects.put_first_client(id, operation, client);
        Self { engine: engine.clone(), id, operation }
    }
}

impl Drop for WaitingClient {
    fn drop(&mut self) {
        drop(self.engine.effects.take_first_client(&self.id, self.operation));
    }
}

/// The start that an event requests.
pub(crate) fn started_by(event: &Event) -> Option<StartId> {
    match event {
        Event::StartRequested { start, .. } => Some(*start),
        _ => None,
    }
}

fn outcome_of(event: &Event, of: StartId) -> Option<Result<(), StartFailure>> {
    match event {
        Event::Started { start, .. } if *start == of => Some(Ok(())),
        Event::StartFailed { start, code, message, .. } if *start == of => {
            Some(Err(StartFailure { message: message.clone(), code: *code }))
        }
        _ => None,
    }
}
