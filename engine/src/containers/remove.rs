//! Remove: answered when nothing is left, or with the reason of a failure.

use std::sync::Arc;
use std::time::Duration;

use super::{AskedCommand, ContainerError, Target, Verb};
use crate::domain::container::{Command, Event};
use crate::engine::Engine;
use crate::journal::record::Context;

/// A writable layer may be large, and a killed process may take its time.
const PATIENCE: Duration = Duration::from_secs(600);

/// `force`: also a container that runs. `volumes`: its anonymous volumes too.
pub(crate) async fn remove(
    engine: &Arc<Engine>,
    target: Target<'_>,
    (force, volumes): (bool, bool),
    context: &Context,
) -> Result<(), ContainerError> {
    let command = || vec![Command::Remove { force, volumes }];
    let mut asked = AskedCommand::ask(&engine.containers, target, Verb::Remove, context, command).await?;
    let outcome = asked.until(PATIENCE, |event| match event {
        Event::Removed => Some(Ok(())),
        Event::RemoveFailed { message } => Some(Err(message.clone())),
        _ => None,
    });
    let reference = target.reference.to_owned();
    match outcome.await {
        Some(Ok(())) => Ok(()),
        Some(Err(message)) => Err(ContainerError::OperationFailed { operation: "remove", reference, message }),
        // The container was gone before the listener was registered.
        None if engine.containers.get(&target.id).is_none() => Ok(()),
        None => Err(ContainerError::RemovalPending { reference }),
    }
}
