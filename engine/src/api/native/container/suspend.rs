//! Pause and unpause, answered with their outcome.

use std::time::Duration;

use super::ask::ask;
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::domain::container::{Command, Event};
use crate::journal::record::Context;

/// Longer than twice the runtime's own deadline.
const PATIENCE: Duration = Duration::from_secs(90);

impl Native {
    pub(super) async fn pause_container(&self, reference: &str, context: &Context) -> Result<(), ApiError> {
        self.switch(reference, Verb::Pause, Command::Pause, context, |event| match event {
            Event::Paused => Some(Ok(())),
            Event::PauseFailed { message } => Some(Err(message.clone())),
            Event::Exited { .. } => Some(Err("it has ended".to_owned())),
            _ => None,
        })
        .await
    }

    pub(super) async fn resume_container(&self, reference: &str, context: &Context) -> Result<(), ApiError> {
        self.switch(reference, Verb::Resume, Command::Resume, context, |event| match event {
            Event::Resumed => Some(Ok(())),
            Event::ResumeFailed { message } => Some(Err(message.clone())),
            Event::Exited { .. } => Some(Err("it has ended".to_owned())),
            _ => None,
        })
        .await
    }

    async fn switch(
        &self,
        reference: &str,
        verb: Verb,
        command: Command,
        context: &Context,
        outcome: impl FnMut(&Event) -> Option<Result<(), String>>,
    ) -> Result<(), ApiError> {
        let id = self.resolve(reference)?;
        let mut asked = ask(&self.engine, id, (verb, reference), context, || command.clone()).await?;
        if asked.events.is_empty() {
            return Ok(());
        }
        let word = if verb == Verb::Pause { "pause" } else { "unpause" };
        match asked.until(PATIENCE, outcome).await {
            Some(Ok(())) => Ok(()),
            Some(Err(message)) => Err(ApiError::failed(format!("Cannot {word} container {reference}: {message}"))),
            None => Err(ApiError::Deadline { message: format!("the {word} of {reference} has no outcome yet") }),
        }
    }
}
