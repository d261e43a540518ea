//! Restart: a stop, or nothing, and then a start. Answered when the outcome of the start is recorded.

use std::sync::Arc;

use super::start::no_outcome;
use super::stop::{outlives_kill, patience_of};
use super::{AskedCommand, ContainerError, Target, Verb, start_outcome, started_by};
use crate::clock;
use crate::definition::Restart;
use crate::domain::container::{Command, Event};
use crate::engine::Engine;
use crate::journal::record::Context;

/// As for a stop, `grace` is in seconds and defaults to the container's own.
pub(crate) async fn restart(
    engine: &Arc<Engine>,
    target: Target<'_>,
    grace: Option<u32>,
    context: &Context,
) -> Result<(), ContainerError> {
    let boot = engine.node.boot;
    let command = || vec![Command::Restart { grace, boot, at: clock::now() }];
    let mut asked = AskedCommand::ask(&engine.containers, target, Verb::Restart, context, command).await?;
    let start = match asked.events.iter().find_map(started_by) {
        Some(start) => start,
        None => {
            let patience = patience_of(&asked);
            let next = asked.until(patience, |event| match event {
                Event::StartRequested { start, .. } => Some(Ok(*start)),
                Event::StopRequested { then_start: false, .. } | Event::RemoveRequested { .. } => Some(Err(())),
                _ => None,
            });
            match next.await {
                Some(Ok(start)) => start,
                Some(Err(())) => {
                    return Err(ContainerError::RestartReplaced { reference: target.reference.to_owned() });
                }
                None => return Err(outlives_kill(engine, target)),
            }
        }
    };
    match start_outcome(&mut asked, start).await {
        Some(Ok(())) => Ok(()),
        Some(Err(failure)) => Err(ContainerError::StartFailed { message: failure.message }),
        None => Err(no_outcome(target)),
    }
}

/// The policy, which automatic removal must leave something to do.
pub(crate) fn suits_removal(policy: Restart, auto_remove: bool) -> Result<Restart, ContainerError> {
    if auto_remove && policy != Restart::No {
        return Err(ContainerError::invalid("Conflicting options: --restart and --rm"));
    }
    Ok(policy)
}
