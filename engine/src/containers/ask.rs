//! Waits for the outcome of a command: listens first, asks, then receives the container's events as they are published.
//! No event is missed, however short-lived the container, and nothing is polled.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::{ContainerError, Target, Verb};
use crate::domain::container::{Command, Container, Event};
use crate::journal::record::Context;
use crate::ledger::{Ledger, Queue, TurnOutcome};
use crate::records::Change;

/// A command that had its turn, and the listener for its outcome.
#[derive(Debug)]
pub(crate) struct AskedCommand {
    /// The state after the turn.
    pub container: Option<Container>,
    /// The events of the turn.
    pub events: Vec<Event>,
    /// The lowest version of changes that the turn can have led to.
    since: u64,
    changes: UnboundedReceiver<Change>,
}

impl AskedCommand {
    /// Asks for a user's commands in one step, and listens for their outcome.
    pub(super) async fn ask(
        containers: &Ledger<Container>,
        target: Target<'_>,
        verb: Verb,
        context: &Context,
        commands: impl Fn() -> Vec<Command>,
    ) -> Result<Self, ContainerError> {
        let changes = containers.listen(target.id);
        let turned = containers.ask(Queue::Commands, &target.id, context, commands).await;
        let turned = turned.map_err(|error| ContainerError::of_turn(error, verb, target.reference))?;
        Ok(Self::of(turned, changes))
    }

    /// `changes` has every event since before the turn.
    pub(crate) fn of(turned: TurnOutcome<Container>, changes: UnboundedReceiver<Change>) -> Self {
        let TurnOutcome { state: container, events } = turned;
        let version = container.as_ref().map_or(u64::MAX, |container| container.version);
        // While the command waited in the queue, earlier commands of the same kind had their outcomes. A turn without
        // events has recorded no version of its own.
        let since = if events.is_empty() { version.saturating_add(1) } else { version };
        Self { container, events, since, changes }
    }

    /// The same for a caller that has only read the state.
    pub(super) fn listening(container: Container, changes: UnboundedReceiver<Change>) -> Self {
        Self::of(TurnOutcome { state: Some(container), events: vec![] }, changes)
    }

    /// The first event since the turn that `pick` maps to a value; `None` when the daemon stops first, or patience ends.
    pub(crate) async fn until<T>(
        &mut self,
        patience: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let waiting = async {
            while let Some(change) = self.changes.recv().await {
                if change.version >= self.since
                    && let Some(picked) = pick(&change.event)
                {
                    return Some(picked);
                }
            }
            None
        };
        tokio::time::timeout(patience, waiting).await.ok().flatten()
    }

    /// The further events, for a caller that goes on listening.
    pub(crate) fn into_changes(self) -> UnboundedReceiver<Change> {
        self.changes
    }
}

/// For outcomes that come only with the container's end.
pub(super) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use store::Journal;

    use super::*;
    use crate::domain::container::testing::{BOOT, ID, PROCESS, at, card};
    use crate::domain::id::StartId;
    use crate::journal::record::Actor;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn context() -> Context {
        Context::new(Actor::Engine)
    }

    /// A running container.
    async fn running() -> Ledger<Container> {
        let containers =
            Ledger::<Container>::new(Journal::in_memory(store::Options::default()).unwrap(), Default::default());
        let started = Command::ReportStarted { start: StartId(2), process: PROCESS, shim: None, at: at(3) };
        let start = Command::Start { boot: BOOT, at: at(2) };
        for command in [Command::Create { id: ID, card: card() }, start, started] {
            containers.turn(&ID, &context(), &command).await.unwrap();
        }
        containers
    }

    async fn pause(containers: &Ledger<Container>) -> AskedCommand {
        let target = Target { id: ID, reference: "web" };
        let asked = AskedCommand::ask(containers, target, Verb::Pause, &context(), || vec![Command::Pause]).await;
        asked.unwrap()
    }

    fn outcome(event: &Event) -> Option<Result<(), String>> {
        match event {
            Event::Paused => Some(Ok(())),
            Event::PauseFailed { message } => Some(Err(message.clone())),
            _ => None,
        }
    }

    #[tokio::test]
    async fn the_outcome_of_an_earlier_command_is_not_this_ones() {
        let containers = running().await;
        let mut first = pause(&containers).await;
        let queued = tokio::spawn({
            let containers = containers.clone();
            async move { pause(&containers).await }
        });
        // The second command listens, and waits for the first.
        tokio::task::yield_now().await;
        let failed = Command::ReportPauseFailed { message: "busy".to_owned() };
        containers.turn(&ID, &context(), &failed).await.unwrap();
        let mut second = queued.await.unwrap();
        assert_eq!(second.events, [Event::PauseRequested]);
        containers.turn(&ID, &context(), &Command::ReportPaused).await.unwrap();
        assert_eq!(first.until(PATIENCE, outcome).await, Some(Err("busy".to_owned())));
        assert_eq!(second.until(PATIENCE, outcome).await, Some(Ok(())));
    }

    #[tokio::test]
    async fn changes_before_a_turn_without_events_are_skipped() {
        let containers = running().await;
        let changes = containers.listen(ID);
        containers.turn(&ID, &context(), &Command::Pause).await.unwrap();
        containers.turn(&ID, &context(), &Command::ReportPaused).await.unwrap();
        // It is paused already.
        let turned = containers.turn(&ID, &context(), &Command::Pause).await.unwrap();
        assert!(turned.events.is_empty());
        let mut asked = AskedCommand::of(turned, changes);
        assert_eq!(asked.until(Duration::ZERO, outcome).await, None);
        containers.turn(&ID, &context(), &Command::Resume).await.unwrap();
        let requested = |event: &Event| matches!(event, Event::ResumeRequested).then_some(());
        assert_eq!(asked.until(PATIENCE, requested).await, Some(()));
    }

    #[tokio::test]
    async fn an_outcome_within_the_turn_itself_counts() {
        let containers = running().await;
        let changes = containers.listen(ID);
        let turned = containers.turn_all(&ID, &context(), &[Command::Pause, Command::ReportPaused]).await.unwrap();
        assert_eq!(AskedCommand::of(turned, changes).until(PATIENCE, outcome).await, Some(Ok(())));
    }
}
