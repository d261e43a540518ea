//! An aggregate is a kind of thing with a stored history: a container, an image, a volume. The ledger runs any of them.

use std::fmt;
use std::hash::Hash;

/// A thing with a history of its own. Its state is a fold of its events.
pub trait Aggregate: Clone + fmt::Debug + Send + Sync + 'static {
    /// The kind's name in log lines.
    const NOUN: &'static str;
    /// Whether an id may be used again after a removal. The versions of its next life begin at 1.
    const REUSES_IDS: bool;

    type Id: Ord + Hash + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static;
    type Command: fmt::Debug + Send + Sync + 'static;
    type Event: Clone + fmt::Debug + Send + Sync + 'static;
    /// An answer that refuses a command. Not an error.
    type Rejection: fmt::Debug + Send + Sync + 'static;

    fn id(&self) -> &Self::Id;

    /// The id as shown in log lines.
    fn short(id: &Self::Id) -> String;

    /// How many events the aggregate has seen in this life.
    fn version(&self) -> u64;

    /// For histories that lack events, or have unreadable ones: the store counts those too.
    fn set_version(&mut self, version: u64);

    /// Decides on a command: events, none if the state is already as wanted, or a rejection. Changes nothing.
    fn decide(
        id: &Self::Id,
        state: Option<&Self>,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Applies one event; `None` when the aggregate is gone. Never refuses.
    fn evolve(state: Option<Self>, event: &Self::Event) -> Option<Self>;

    fn urgency(event: &Self::Event) -> Urgency;

    /// The event's name in records and in log lines.
    fn event_name(event: &Self::Event) -> &'static str;

    /// Names under which these events stay readable when the aggregate itself is gone.
    fn title(id: &Self::Id, before: Option<&Self>, events: &[Self::Event], after: Option<&Self>) -> Title;
}

/// An aggregate whose commands wait for an operation under way.
pub trait Queued: Aggregate {
    /// The rejection for an id without an aggregate.
    fn unknown() -> Self::Rejection;

    /// The rejection for a command that has to wait for a pending operation. The ledger decides it again after the
    /// outcome.
    fn in_transition() -> Self::Rejection;

    fn is_in_transition(rejection: &Self::Rejection) -> bool;
}

/// How much of the space reserved for a full disk an event may use. Later variants may use more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// None of the reserve.
    Ordinary,
    /// Helps to free space, and may be asked for again and again.
    Cleanup,
    /// Ends, releases, and the outcomes of intents.
    Urgent,
}

/// The name and the image of a container, the name of a volume, a name of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Title {
    pub name: String,
    pub image: String,
}
