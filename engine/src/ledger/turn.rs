//! A turn: the only way in which an aggregate changes.

use std::sync::Arc;
use std::time::Duration;

use store::{Append, AppendError, OnReadable, Row};
use tokio::time::timeout;

use super::{Inner, Ledger, Recorded, Turn};
use crate::clock;
use crate::domain::aggregate::{Title, Urgency};
use crate::journal::record::{Actor, Context};

/// An event is published one sync after the journal has it.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(30);

/// Why a turn did not happen: a rejection, or an error.
#[derive(Debug, thiserror::Error)]
pub enum TurnError<R> {
    #[error("the command was refused")]
    Rejected(R),
    #[error("cannot write the journal")]
    Journal(#[from] AppendError),
}

/// The outcome of a turn.
#[derive(Debug)]
pub(crate) struct TurnOutcome<A: Recorded> {
    /// The state after it; `None` when it is gone.
    pub state: Option<A>,
    /// The recorded events; empty when the state was already as wanted.
    pub events: Vec<A::Event>,
}

/// The additions of one turn to one stream.
struct Addition<'a, A: Recorded> {
    id: &'a A::Id,
    /// The version that the decision was made on.
    expected: u64,
    context: &'a Context,
    events: &'a [A::Event],
    after: Option<&'a A>,
}

impl<A: Recorded> Ledger<A> {
    /// One command; its events are durable and visible when it returns.
    pub(crate) async fn turn(
        &self,
        id: &A::Id,
        context: &Context,
        command: &A::Command,
    ) -> Result<TurnOutcome<A>, TurnError<A::Rejection>> {
        self.turn_all(id, context, std::slice::from_ref(command)).await
    }

    /// Several commands in one step: each decides on the outcome of those before it, and either all events are recorded
    /// or none. Subscribers see the state after the last one.
    pub(crate) async fn turn_all(
        &self,
        id: &A::Id,
        context: &Context,
        commands: &[A::Command],
    ) -> Result<TurnOutcome<A>, TurnError<A::Rejection>> {
        // A decision on one life must not be recorded in the next, which begins at version 1 too.
        let _lane = if A::REUSES_IDS { Some(self.0.lanes.enter(id).await) } else { None };
        // The version of an absent aggregate. Not 0 when its row could not be read: the new history follows the old.
        let mut absent = 0;
        loop {
            let before = self.get(id).map(|entry| entry.state.clone());
            let expected = before.as_ref().map_or(absent, A::version);
            let (mut after, mut events) = (before.clone(), Vec::new());
            for command in commands {
                let decided = A::decide(id, after.as_ref(), command).map_err(TurnError::Rejected)?;
                after = decided.iter().fold(after, A::evolve);
                events.extend(decided);
            }
            if events.is_empty() {
                return Ok(TurnOutcome { state: after, events });
            }
            if let Some(state) = after.as_mut().filter(|_| before.is_none()) {
                state.set_version(expected + events.len() as u64);
            }
            let Title { name, image } = A::title(id, before.as_ref(), &events, after.as_ref());
            let context = Context { name, image, ..context.clone() };
            log::<A>(id, &context, &events);
            let addition = Addition { id, expected, context: &context, events: &events, after: after.as_ref() };
            match self.append(addition, Publication::Turn).await {
                Err(AppendError::Conflict { found, .. }) if before.is_none() => {
                    if self.all_published(id, found).await? {
                        absent = found;
                    }
                }
                // Another turn came first: decide again once its outcome is published. If it never is, the store and
                // the projection do not agree.
                Err(error @ AppendError::Conflict { .. }) => {
                    timeout(CONFLICT_PATIENCE, self.changed_since(id, expected)).await.map_err(|_| error)?;
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(TurnOutcome { state: after, events }),
            }
        }
    }

    /// Saves a change of the state without an event: the row alone, which a crash may lose. `change` returns `None` to
    /// leave the state alone. An absent aggregate, or one that changes at this moment, is left alone too.
    pub(crate) async fn amend(&self, id: &A::Id, change: impl FnOnce(A) -> Option<A>) -> Result<(), AppendError> {
        let _lane = if A::REUSES_IDS { Some(self.0.lanes.enter(id).await) } else { None };
        let Some(state) = self.get(id).and_then(|entry| change(entry.state.clone())) else { return Ok(()) };
        let context = Context::new(Actor::Engine);
        let addition = Addition { id, expected: state.version(), context: &context, events: &[], after: Some(&state) };
        match self.append(addition, Publication::Amendment).await {
            Err(AppendError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Records the history of an aggregate that the store has lost, as far as it was found out: facts, decided long
    /// ago. They follow the present state, if there is one. Recovery continues from there, so the subscriber sees none
    /// of it.
    pub(crate) async fn record_rebuilt(
        &self,
        id: &A::Id,
        context: &Context,
        events: &[A::Event],
    ) -> Result<(), AppendError> {
        let _lane = if A::REUSES_IDS { Some(self.0.lanes.enter(id).await) } else { None };
        let before = self.get(id).map(|entry| entry.state.clone());
        let present = before.as_ref().map_or(0, A::version);
        let mut known = present;
        loop {
            let mut after = events.iter().fold(before.clone(), A::evolve);
            if let Some(state) = &mut after {
                state.set_version(known + events.len() as u64);
            }
            let Title { name, image } = A::title(id, before.as_ref(), events, after.as_ref());
            let context = Context { name, image, ..context.clone() };
            let addition = Addition { id, expected: known, context: &context, events, after: after.as_ref() };
            match self.append(addition, Publication::Rebuilt).await {
                Err(error @ AppendError::Conflict { found, .. }) if found > known => {
                    self.all_published(id, found).await?;
                    // The store counts events that are lost: the new ones follow those. After another turn, however,
                    // they would not fit.
                    if self.get(id).map_or(0, |entry| entry.state.version()) != present {
                        return Err(error);
                    }
                    known = found;
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits until all turns that the journal has taken are published. `false` if the stream has a new version by now.
    async fn all_published(&self, id: &A::Id, version: u64) -> Result<bool, AppendError> {
        // The journal publishes in order, so an append of nothing is answered after everything before it.
        let nothing = Append {
            stream: A::stream(id),
            expected: version,
            at: clock::now().0,
            // It writes nothing that a full disk could lack.
            urgency: store::Urgency::Urgent,
            events: vec![],
            row: Row::Keep,
            on_durable: None,
        };
        match self.0.journal.append(nothing).await {
            Err(AppendError::Conflict { .. }) => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// Durable and visible when it returns, even if the caller is cancelled meanwhile.
    async fn append(&self, addition: Addition<'_, A>, publication: Publication) -> Result<(), AppendError> {
        let Addition { id, expected, context, events, after } = addition;
        let inner = self.0.clone();
        let turn = Owned { id: id.clone(), context: context.clone(), events: events.to_vec(), after: after.cloned() };
        let append = Append {
            stream: A::stream(id),
            expected,
            at: clock::now().0,
            urgency: stored(events.iter().map(A::urgency).max().unwrap_or(Urgency::Ordinary)),
            events: events.iter().map(|event| A::encode(context, event)).collect(),
            row: after.map_or(Row::Delete, A::encode_row),
            on_durable: Some(Box::new(move |records| {
                inner.publish(publication, records.last().map_or(0, |record| record.seq), turn)
            })),
        };
        self.0.journal.append(append).await.map(drop)
    }
}

/// How an addition becomes visible.
#[derive(Debug, Clone, Copy)]
enum Publication {
    Turn,
    Amendment,
    Rebuilt,
}

/// A turn on its way to the journal's thread.
struct Owned<A: Recorded> {
    id: A::Id,
    context: Context,
    events: Vec<A::Event>,
    after: Option<A>,
}

impl<A: Recorded> Inner<A> {
    /// On the journal's thread, in journal order.
    fn publish(self: Arc<Self>, publication: Publication, seq: u64, turn: Owned<A>) -> Option<OnReadable> {
        let Owned { id, context, events, after } = turn;
        match (publication, after) {
            (Publication::Turn, after) => {
                let before = self.projection.publish(&id, after.clone(), seq);
                return Some(Box::new(move || {
                    self.projection.notify(&id, before.as_deref(), &events, after.as_ref());
                    if let Some(subscriber) = self.subscriber.get() {
                        subscriber(Turn { id: &id, context: &context, events: &events, after: after.as_ref() });
                    }
                }));
            }
            (Publication::Amendment, Some(state)) => self.projection.amend(state),
            (Publication::Rebuilt, Some(state)) => {
                let before = self.projection.restore(state.clone(), seq);
                return Some(Box::new(move || self.projection.notify(&id, before.as_deref(), &events, Some(&state))));
            }
            (Publication::Amendment | Publication::Rebuilt, None) => {}
        }
        None
    }
}

fn stored(urgency: Urgency) -> store::Urgency {
    match urgency {
        Urgency::Ordinary => store::Urgency::Ordinary,
        Urgency::Cleanup => store::Urgency::Cleanup,
        Urgency::Urgent => store::Urgency::Urgent,
    }
}

fn log<A: Recorded>(id: &A::Id, context: &Context, events: &[A::Event]) {
    let (id, operation) = (A::short(id), context.operation);
    let events = events.iter().map(A::event_name).collect::<Vec<_>>().join(",");
    tracing::info!(of = A::NOUN, id, events, %operation, "turn");
}
