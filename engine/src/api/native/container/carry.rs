//! Waiting for an outcome: listen first, ask, then take the container's events as they are published. Nothing is
//! missed, however short-lived the container, and nothing is polled.

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

/// An asked command and the ear that hears what becomes of it.
pub(super) struct Carried {
    pub container: Option<Container>,
    pub events: Vec<Event>,
    told: UnboundedReceiver<Change>,
}

/// Takes a user's command through its turn.
pub(super) async fn carry(
    engine: &Arc<Engine>,
    id: ContainerId,
    (verb, reference): (Verb, &str),
    context: &Context,
    command: impl Fn() -> Command,
) -> Result<Carried, ApiError> {
    carry_all(engine, id, (verb, reference), context, || vec![command()]).await
}

/// The same for several commands in one step.
pub(super) async fn carry_all(
    engine: &Arc<Engine>,
    id: ContainerId,
    (verb, reference): (Verb, &str),
    context: &Context,
    commands: impl Fn() -> Vec<Command>,
) -> Result<Carried, ApiError> {
    let told = engine.containers.listen(id);
    let turned = engine
        .containers
        .ask(Queue::Commands, &id, context, commands)
        .await
        .map_err(|error| ApiError::of_turn(error, verb, reference))?;
    Ok(Carried { container: turned.state, events: turned.events, told })
}

impl Carried {
    pub(super) fn listening(container: Option<Container>, told: UnboundedReceiver<Change>) -> Self {
        Self { container, events: vec![], told }
    }

    /// The first event that `pick` makes something of; `None` when the daemon stops first, or patience ends.
    pub(super) async fn until<T>(
        &mut self,
        patience: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let waiting = async {
            while let Some(told) = self.told.recv().await {
                if let Some(picked) = pick(&told.event) {
                    return Some(picked);
                }
            }
            None
        };
        tokio::time::timeout(patience, waiting).await.ok().flatten()
    }
}

/// Longer than a launch may take: its outcome comes first.
pub(in crate::api::native) const START_PATIENCE: Duration = LAUNCH_LIMIT.saturating_add(Duration::from_secs(60));

/// For outcomes that only the container's own life bounds.
pub(super) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
