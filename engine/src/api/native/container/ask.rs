//! Waits for the outcome of a command: listens first, asks, then receives the container's events as they are published.
//! No event is missed, however short-lived the container, and nothing is polled.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::api::native::ApiError;
use crate::api::native::status::Verb;
use crate::containers::Change;
use crate::domain::container::{Command, Container, Event};
use crate::domain::id::ContainerId;
use crate::effects::LAUNCH_LIMIT;
use crate::engine::Engine;
use crate::journal::record::Context;
use crate::ledger::Queue;

/// A command that was asked, and the listener for its outcome.
pub(super) struct AskedCommand {
    pub container: Option<Container>,
    pub events: Vec<Event>,
    changes: UnboundedReceiver<Change>,
}

/// Asks for a user's command, and listens for its outcome.
pub(super) async fn ask(
    engine: &Arc<Engine>,
    id: ContainerId,
    (verb, reference): (Verb, &str),
    context: &Context,
    command: impl Fn() -> Command,
) -> Result<AskedCommand, ApiError> {
    ask_all(engine, id, (verb, reference), context, || vec![command()]).await
}

/// The same for several commands in one step.
pub(super) async fn ask_all(
    engine: &Arc<Engine>,
    id: ContainerId,
    (verb, reference): (Verb, &str),
    context: &Context,
    commands: impl Fn() -> Vec<Command>,
) -> Result<AskedCommand, ApiError> {
    let changes = engine.containers.listen(id);
    let turned = engine
        .containers
        .ask(Queue::Commands, &id, context, commands)
        .await
        .map_err(|error| ApiError::of_turn(error, verb, reference))?;
    Ok(AskedCommand { container: turned.state, events: turned.events, changes })
}

impl AskedCommand {
    pub(super) fn listening(container: Option<Container>, changes: UnboundedReceiver<Change>) -> Self {
        Self { container, events: vec![], changes }
    }

    /// The first event that `pick` maps to a value; `None` when the daemon stops first, or patience ends.
    pub(super) async fn until<T>(
        &mut self,
        patience: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let waiting = async {
            while let Some(change) = self.changes.recv().await {
                if let Some(picked) = pick(&change.event) {
                    return Some(picked);
                }
            }
            None
        };
        tokio::time::timeout(patience, waiting).await.ok().flatten()
    }
}

/// Longer than a launch may take, so that its outcome comes first.
pub(in crate::api::native) const START_PATIENCE: Duration = LAUNCH_LIMIT.saturating_add(Duration::from_secs(60));

/// For outcomes that come only with the container's end.
pub(super) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
