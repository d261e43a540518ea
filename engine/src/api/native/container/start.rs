//! Start: returns when the outcome is recorded.

use std::sync::Arc;

use cri_api::isula::v1::{StartFailure, StartResponse};

use super::carry::{START_PATIENCE, carry_all};
use crate::api::native::attach::Attendance;
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::domain::container::{Command, Event};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::{Engine, FirstClient};
use crate::journal::record::{Context, OperationId};

/// What became of a request to start.
pub(in crate::api::native) enum Begun {
    Started(StartId),
    Failed(StartFailure),
    /// It ran already.
    Already,
}

impl Native {
    pub(super) async fn start_container(&self, reference: &str, context: &Context) -> Result<StartResponse, ApiError> {
        let id = self.resolve(reference)?;
        let begun = self.begin(reference, None, context).await?;
        let warnings = || self.engine.containers.get(&id).map_or_else(Vec::new, |entity| entity.take_warnings());
        Ok(match begun {
            Begun::Started(_) => StartResponse { failure: None, warnings: warnings() },
            Begun::Already => StartResponse::default(),
            Begun::Failed(failure) => StartResponse { failure: Some(failure), warnings: vec![] },
        })
    }

    /// A client is attached from the first byte, and recorded with the start. The failure of the start itself is an
    /// answer, not an error.
    pub(in crate::api::native) async fn begin(
        &self,
        reference: &str,
        attached: Option<(FirstClient, &mut Attendance)>,
        context: &Context,
    ) -> Result<Begun, ApiError> {
        let id = self.resolve(reference)?;
        let boot = self.engine.boot;
        let (client, attendance) = attached.unzip();
        let left = client.map(|client| LeftClient::put(&self.engine, id, context.operation, client));
        let asked = (Verb::Start, reference);
        let commands = || {
            let start = Command::Start { boot, at: clock::now() };
            std::iter::once(start).chain(attendance.as_ref().map(|attendance| attendance.command(true))).collect()
        };
        let mut carried = carry_all(&self.engine, id, asked, context, commands).await?;
        if let Some(attendance) = attendance {
            attendance.recorded();
        }
        let Some(start) = carried.events.iter().find_map(started_by) else { return Ok(Begun::Already) };
        let outcome = carried.until(START_PATIENCE, |event| outcome_of(event, start)).await;
        drop(left);
        match outcome {
            Some(Ok(())) => Ok(Begun::Started(start)),
            Some(Err(failure)) => Ok(Begun::Failed(failure)),
            None => Err(ApiError::Deadline { message: format!("the start of {reference} has no outcome yet") }),
        }
    }
}

/// A client that waits for its launch: taken back if that does not come, or the request is given up.
struct LeftClient {
    engine: Arc<Engine>,
    id: ContainerId,
    operation: OperationId,
}

impl LeftClient {
    fn put(engine: &Arc<Engine>, id: ContainerId, operation: OperationId, client: FirstClient) -> Self {
        engine.put_first_client(id, operation, client);
        Self { engine: engine.clone(), id, operation }
    }
}

impl Drop for LeftClient {
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
