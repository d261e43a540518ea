//! What the ledger needs to know of a kind of thing whose history is kept: a container, an image, a volume.

use std::fmt;
use std::hash::Hash;

/// One kind of thing with a history of its own. Its state is a fold of its events.
pub trait Aggregate: Clone + fmt::Debug + Send + Sync + 'static {
    /// In log lines.
    const NOUN: &'static str;
    /// Whether an id may come again after a removal. Versions of the next life begin at 1.
    const IDS_COME_AGAIN: bool;

    type Id: Ord + Hash + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static;
    type Command: fmt::Debug + Send + Sync + 'static;
    type Event: Clone + fmt::Debug + Send + Sync + 'static;
    /// A refusal: an answer, not trouble.
    type Rejection: fmt::Debug + Send + Sync + 'static;

    fn id(&self) -> &Self::Id;

    /// The id as log lines have it.
    fn short(id: &Self::Id) -> String;

    /// How many events it has seen in this life.
    fn version(&self) -> u64;

    /// For histories that lack events, or have some that cannot be read: the store counts those too.
    fn set_version(&mut self, version: u64);

    /// Says what a command leads to: events, nothing (already so), or a refusal. Changes nothing.
    fn decide(
        id: &Self::Id,
        state: Option<&Self>,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Folds in one fact; `None` when it is gone. Never refuses.
    fn evolve(state: Option<Self>, event: &Self::Event) -> Option<Self>;

    fn urgency(event: &Self::Event) -> Urgency;

    /// As it is called in records and in log lines.
    fn event_name(event: &Self::Event) -> &'static str;

    /// By which these events are readable when all else of it is gone.
    fn title(id: &Self::Id, before: Option<&Self>, events: &[Self::Event], after: Option<&Self>) -> Title;
}

/// An aggregate whose commands wait for an operation under way.
pub trait Queued: Aggregate {
    /// There is none with this id.
    fn unknown() -> Self::Rejection;

    /// An operation is under way and its outcome decides. A command that is refused with it is asked again after that.
    fn in_transition() -> Self::Rejection;

    fn is_in_transition(rejection: &Self::Rejection) -> bool;
}

/// How much of the space held back for a full disk an event may use. Later ones may use more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing of it.
    Ordinary,
    /// What helps to free space and may be asked for again and again.
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
