//! The flow, once for every aggregate: request → command → decide → events → append → evolve → subscribers → reply.
//!
//! A ledger owns all aggregates of one kind. Every change of one is a *turn* (`turn.rs`): a decision on its present
//! state, recorded durably, then published to the projection (`projection.rs`), which every read is answered from, and
//! to the subscriber, which plans effects and puts them in their queues (`effects.rs`). Users' commands queue per
//! aggregate and wait for an operation under way (`ask.rs`); reports of the world are retried while the disk is full
//! (`report.rs`). At start the projection is restored from savepoint rows and the tail of the journal (`restore.rs`).
//!
//! The ledger knows neither shims nor files nor wire types. A further aggregate is a folder of `domain`, a codec
//! (`journal/record`) and its companion data ([`WithCompanion`]).

#![warn(clippy::wildcard_enum_match_arm)]

mod ask;
mod effects;
mod entry;
mod lanes;
mod projection;
mod report;
mod restore;
mod turn;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use store::Journal;

use crate::domain::aggregate::Aggregate;
use crate::journal::record::{Codec, Context};
use crate::warnings::Warnings;

pub(crate) use effects::{Effect, Effects, Performer};
pub(crate) use entry::{Entry, Queue};
pub(crate) use projection::{Index, Projection, Published, Snapshot};
pub(crate) use restore::Restorable;
pub(crate) use turn::{TurnError, TurnOutcome};

/// The engine's data beside the states of an aggregate: secondary indices of all, and data of each that is not state.
pub(crate) trait WithCompanion: Aggregate {
    type Index: Index<Self>;
    /// Made with an aggregate, shared by all its entries, dropped with the last.
    type Companion: fmt::Debug + Default + Send + Sync + 'static;
}

/// An aggregate that a ledger can be made of.
pub(crate) trait Recorded: Codec + WithCompanion {}

impl<A: Codec + WithCompanion> Recorded for A {}

/// Called by the journal's thread after each turn became durable and visible, in journal order. It must not block.
pub(crate) type Subscriber<A> = Box<dyn Fn(Turn<'_, A>) + Send + Sync>;

/// One turn, as passed to its subscriber.
#[derive(Debug)]
pub(crate) struct Turn<'a, A: Aggregate> {
    pub id: &'a A::Id,
    pub context: &'a Context,
    pub events: &'a [A::Event],
    /// The state after all events; `None` when it is gone.
    pub after: Option<&'a A>,
}

/// All aggregates of one kind. A clone is the same ledger.
pub(crate) struct Ledger<A: Recorded>(Arc<Inner<A>>);

struct Inner<A: Recorded> {
    journal: Journal,
    warnings: Arc<Warnings>,
    projection: Projection<A>,
    lanes: lanes::Lanes,
    subscriber: OnceLock<Subscriber<A>>,
}

impl<A: Recorded> Ledger<A> {
    pub(crate) fn new(journal: Journal, warnings: Arc<Warnings>) -> Self {
        Self(Arc::new(Inner {
            journal,
            warnings,
            projection: Projection::default(),
            lanes: lanes::Lanes::default(),
            subscriber: OnceLock::new(),
        }))
    }

    /// To be called once, before the first turn; a second subscriber is ignored.
    pub(crate) fn subscribe(&self, subscriber: Subscriber<A>) {
        let _ = self.0.subscriber.set(subscriber);
    }
}

impl<A: Recorded> Clone for Ledger<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Reads are the projection's.
impl<A: Recorded> Deref for Ledger<A> {
    type Target = Projection<A>;

    fn deref(&self) -> &Projection<A> {
        &self.0.projection
    }
}

impl<A: Recorded> fmt::Debug for Ledger<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ledger").field(&A::NOUN).finish()
    }
}
