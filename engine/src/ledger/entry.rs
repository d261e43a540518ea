//! One aggregate of a projection, and its queues.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::Beside;

/// An aggregate and where its record stands. Never changed: a turn puts another one in its place.
#[derive(Debug)]
pub struct Entry<A: Beside> {
    pub state: A,
    /// Its last event's place in the journal.
    pub seq: u64,
    /// `false` until recovery has compared it with the world.
    pub verified: bool,
    pub(super) lasting: Arc<Lasting<A::Own>>,
}

/// Lives as long as the aggregate, through all its entries.
#[derive(Debug, Default)]
pub(super) struct Lasting<T> {
    pub(super) changed: Notify,
    commands: Arc<Mutex<()>>,
    beside: Arc<Mutex<()>>,
    reports: Arc<Mutex<()>>,
    own: T,
}

/// Commands of one queue are served in order; queues do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Commands,
    /// For commands that one in `Commands` may be waiting for. A stop waits for the end of execs; an exec behind that stop would
    /// wait for itself.
    Beside,
}

impl<A: Beside> Entry<A> {
    pub(super) fn new(state: A, seq: u64, verified: bool) -> Self {
        Self { state, seq, verified, lasting: Arc::default() }
    }

    /// The next place in the queue; fair.
    pub(super) async fn place(&self, queue: Queue) -> OwnedMutexGuard<()> {
        let places = match queue {
            Queue::Commands => &self.lasting.commands,
            Queue::Beside => &self.lasting.beside,
        };
        places.clone().lock_owned().await
    }

    /// The next report's place; fair. Held also while a report waits for room on the disk, so that reports stay in order.
    pub(super) async fn report_place(&self) -> OwnedMutexGuard<()> {
        self.lasting.reports.clone().lock_owned().await
    }

    /// What is kept beside the state.
    pub fn own(&self) -> &A::Own {
        &self.lasting.own
    }
}

impl<A: Beside> Clone for Entry<A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), seq: self.seq, verified: self.verified, lasting: self.lasting.clone() }
    }
}
