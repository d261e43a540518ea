//! One aggregate of a projection, and its queues.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::WithCompanion;

/// An aggregate's state and its last place in the journal. Never changed: a turn replaces it by another entry.
#[derive(Debug)]
pub(crate) struct Entry<A: WithCompanion> {
    pub state: A,
    /// The place of its last event in the journal.
    pub seq: u64,
    /// `false` until recovery has compared it with the world.
    pub verified: bool,
    pub(super) shared: Arc<Shared<A::Companion>>,
}

/// Shared by all entries of an aggregate, from its first to its last.
#[derive(Debug, Default)]
pub(super) struct Shared<T> {
    pub(super) changed: Notify,
    commands: Arc<Mutex<()>>,
    execs: Arc<Mutex<()>>,
    reports: Arc<Mutex<()>>,
    companion: T,
}

/// Commands of one queue are served in order; queues do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    Commands,
    /// For commands that a command in `Commands` may be waiting for. A stop waits for the end of execs; an exec behind
    /// that stop would wait for itself.
    Execs,
}

impl<A: WithCompanion> Entry<A> {
    pub(super) fn new(state: A, seq: u64, verified: bool) -> Self {
        Self { state, seq, verified, shared: Arc::default() }
    }

    /// The next place in the queue; fair.
    pub(super) async fn place(&self, queue: Queue) -> OwnedMutexGuard<()> {
        let places = match queue {
            Queue::Commands => &self.shared.commands,
            Queue::Execs => &self.shared.execs,
        };
        places.clone().lock_owned().await
    }

    /// The next report's place; fair. Held also while a report waits for room on the disk, so that reports stay in
    /// order.
    pub(super) async fn report_place(&self) -> OwnedMutexGuard<()> {
        self.shared.reports.clone().lock_owned().await
    }

    /// The aggregate's companion data, which is not part of its state.
    pub(crate) fn companion(&self) -> &A::Companion {
        &self.shared.companion
    }
}

impl<A: WithCompanion> Clone for Entry<A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), seq: self.seq, verified: self.verified, shared: self.shared.clone() }
    }
}
