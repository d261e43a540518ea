//! Pause and unpause, answered with their outcome.

use std::sync::Arc;
use std::time::Duration;

use super::{AskedCommand, ContainerError, Target, Verb};
use crate::domain::container::{Command, Event};
use crate::engine::Engine;
use crate::journal::record::Context;

/// Longer than twice the runtime's own deadline.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn pause(engine: &Arc<Engine>, target: Target<'_>, context: &Context) -> Result<(), ContainerError> {
    switch(engine, target, (Verb::Pause, "pause"), Command::Pause, context, |event| match event {
        Event::Paused => Some(Ok(())),
        Event::PauseFailed { message } => Some(Err(message.clone())),
        Event::Exited { .. } => Some(Err("it has ended".to_owned())),
        _ => None,
    })
    .await
}

pub(crate) async fn resume(engine: &Arc<Engine>, target: Target<'_>, context: &Context) -> Result<(), ContainerError> {
    switch(engine, target, (Verb::Resume, "unpause"), Command::Resume, context, |event| match event {
        Event::Resumed => Some(Ok(())),
        Event::ResumeFailed { message } => Some(Err(message.clone())),
        Event::Exited { .. } => Some(Err("it has ended".to_owned())),
        _ => None,
    })
    .await
}

async fn switch(
    engine: &Arc<Engine>,
    target: Target<'_>,
    (verb, operation): (Verb, &'static str),
    command: Command,
    context: &Context,
    outcome: impl FnMut(&Event) -> Option<Result<(), String>>,
) -> Result<(), ContainerError> {
    let mut asked = AskedCommand::ask(&engine.containers, target, verb, context, || vec![command.clone()]).await?;
    if asked.events.is_empty() {
        return Ok(());
    }
    let reference = target.reference.to_owned();
    match asked.until(PATIENCE, outcome).await {
        Some(Ok(())) => Ok(()),
        Some(Err(message)) => Err(ContainerError::OperationFailed { operation, reference, message }),
        None => Err(ContainerError::NoOutcome { operation, reference }),
    }
}
