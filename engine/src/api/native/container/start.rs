//! Start: answered when the outcome is recorded.

use std::sync::Arc;

use cri_api::isula::v1::{StartFailure, StartResponse};

use super::ask::{START_PATIENCE, ask_all};
use crate::api::native::attach::AttachGuard;
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::domain::container::{Command, Event};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::{Engine, FirstClient};
use crate::journal::record::{Context, OperationId};

/// The outcome of a request to start.
pub(in crate::api::native) enum StartOutcome {
    Started(StartId),
    Failed(StartFailure),
    /// The container was running already.
    AlreadyRunning,
}

impl Native {
    pub(super) async fn start_container(&self, reference: &str, context: &Context) -> Result<StartResponse, ApiError> {
        let id = self.resolve(reference)?;
        let outcome = self.begin(reference, None, context).await?;
        let warnings = || self.engine.containers.get(&id).map_or_else(Vec::new, |entity| entity.take_warnings());
        Ok(match outcome {
            StartOutcome::Started(_) => StartResponse { failure: None, warnings: warnings() },
            StartOutcome::AlreadyRunning => StartResponse::default(),
            StartOutcome::Failed(failure) => StartResponse { failure: Some(failure), warnings: vec![] },
        })
    }

    /// Starts a container. A client is attached from the first byte, and recorded with the start. The failure of the
    /// start itself is an answer, not an error.
    pub(in crate::api::native) async fn begin(
        &self,
        reference: &str,
        attached: Option<(FirstClient, &mut AttachGuard)>,
        context: &Context,
    ) -> Result<StartOutcome, ApiError> {
        let id = self.resolve(reference)?;
        let boot = self.engine.boot;
        let (client, guard) = attached.unzip();
        let left = client.map(|client| WaitingClient::put(&self.engine, id, context.operation, client));
        let target = (Verb::Start, reference);
        let commands = || {
            let start = Command::Start { boot, at: clock::now() };
            std::iter::once(start).chain(guard.as_ref().map(|guard| guard.command(true))).collect()
        };
        let mut asked = ask_all(&self.engine, id, target, context, commands).await?;
        if let Some(guard) = guard {
            guard.recorded();
        }
        let Some(start) = asked.events.iter().find_map(started_by) else { return Ok(StartOutcome::AlreadyRunning) };
        let outcome = asked.until(START_PATIENCE, |event| outcome_of(event, start)).await;
        drop(left);
        match outcome {
            Some(Ok(())) => Ok(StartOutcome::Started(start)),
            Some(Err(failure)) => Ok(StartOutcome::Failed(failure)),
            None => Err(ApiError::Deadline { message: format!("the start of {reference} has no outcome yet") }),
        }
    }
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
        engine.put_first_client(id, operation, client);
        Self { engine: engine.clone(), id, operation }
    }
}

impl Drop for WaitingClient {
    fn drop(&mut self) {
        drop(self.engine.take_first_client(&self.id, self.operation));
    }
}

pub(in crate::api::native) fn started_by(event: &Event) -> Option<StartId> {
    match event {
        Event::StartRequested { start, .. } => Some(*start),
        _ => None,
    }
}

pub(in crate::api::native) fn outcome_of(event: &Event, of: StartId) -> Option<Result<(), StartFailure>> {
    match event {
        Event::Started { start, .. } if *start == of => Some(Ok(())),
        Event::StartFailed { start, code, message, .. } if *start == of => {
            Some(Err(StartFailure { message: message.clone(), exit_code: i32::from(*code) }))
        }
        _ => None,
    }
}
