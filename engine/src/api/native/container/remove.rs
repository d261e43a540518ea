//! Remove: answered when nothing is left, or with the reason of a failure.

use std::time::Duration;

use super::ask::ask;
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::domain::container::{Command, Event};
use crate::journal::record::Context;

/// A writable layer may be large, and a killed process may take its time.
const PATIENCE: Duration = Duration::from_secs(600);

impl Native {
    pub(super) async fn remove_container(
        &self,
        reference: &str,
        (force, volumes): (bool, bool),
        context: &Context,
    ) -> Result<(), ApiError> {
        let id = self.resolve(reference)?;
        let mut asked =
            ask(&self.engine, id, (Verb::Remove, reference), context, || Command::Remove { force, volumes }).await?;
        let outcome = asked.until(PATIENCE, |event| match event {
            Event::Removed => Some(Ok(())),
            Event::RemoveFailed { message } => Some(Err(message.clone())),
            _ => None,
        });
        match outcome.await {
            Some(Ok(())) => Ok(()),
            Some(Err(message)) => Err(ApiError::failed(format!("Cannot remove container {reference}: {message}"))),
            // The container was gone before the listener was registered.
            None if self.engine.containers.get(&id).is_none() => Ok(()),
            None => Err(ApiError::Deadline {
                message: format!("the removal of {reference} has not finished; it goes on in the background"),
            }),
        }
    }
}
