//! Start: returns when the outcome is recorded.

use std::os::fd::OwnedFd;

use cri_api::isula::v1::StartFailure;

use super::carry::{START_PATIENCE, carry};
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::domain::container::{Command, Event};
use crate::domain::id::StartId;
use crate::journal::record::Context;

impl Native {
    /// `client` is attached from the first byte. The failure of the start itself is an answer, not an error.
    pub(in crate::api::native) async fn start_container(
        &self,
        reference: &str,
        client: Option<OwnedFd>,
        context: &Context,
    ) -> Result<Option<StartFailure>, ApiError> {
        let id = self.resolve(reference)?;
        let boot = self.engine.boot;
        let client = std::sync::Mutex::new(client);
        let operation = context.operation;
        let carried = carry(&self.engine, id, (Verb::Start, reference), context, || {
            // Here the command has its place in the container's queue: no other start's client is in the way.
            if let Some(client) = client.lock().ok().and_then(|mut client| client.take()) {
                self.engine.put_first_client(id, operation, client);
            }
            Command::Start { boot, at: clock::now() }
        })
        .await;
        let started = carried.as_ref().ok().and_then(|carried| carried.events.iter().find_map(started_by));
        let Some(start) = started else {
            self.engine.withdraw_first_client(&id, operation);
            return carried.map(|_| None);
        };
        let mut carried = carried?;
        let outcome = carried.until(START_PATIENCE, |event| outcome_of(event, start)).await;
        match outcome {
            Some(Ok(())) => Ok(None),
            Some(Err(failure)) => Ok(Some(failure)),
            None => Err(ApiError::Deadline { message: format!("the start of {reference} has no outcome yet") }),
        }
    }
}

pub(super) fn started_by(event: &Event) -> Option<StartId> {
    match event {
        Event::StartRequested { start, .. } => Some(*start),
        _ => None,
    }
}

pub(super) fn outcome_of(event: &Event, of: StartId) -> Option<Result<(), StartFailure>> {
    match event {
        Event::Started { start, .. } if *start == of => Some(Ok(())),
        Event::StartFailed { start, code, message, .. } if *start == of => {
            Some(Err(StartFailure { message: message.clone(), exit_code: i32::from(*code) }))
        }
        _ => None,
    }
}
