//! The present states of all aggregates of a kind, from which every read is answered. The journal's publication writes
//! them in journal order, restore fills them before that, and recovery marks them as verified. A reader takes a
//! structurally shared copy and never waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use tokio::sync::{Notify, mpsc};

use super::{Entry, WithCompanion};
use crate::domain::aggregate::Aggregate;

/// Above this number, ids with only closed listeners are dropped at the next `listen`.
const LISTENED: usize = 1_000;

/// A secondary index, kept in step with the states.
pub(crate) trait Index<A: Aggregate>: Clone + fmt::Debug + Default + Send + Sync + 'static {
    /// Replaces one state by another. Called under the projection's lock, so it must not block; cheap to clone
    /// afterwards.
    fn replace(&mut self, id: &A::Id, before: Option<&A>, after: Option<&A>);
}

/// For aggregates without a secondary index.
impl<A: Aggregate> Index<A> for () {
    fn replace(&mut self, _: &A::Id, _: Option<&A>, _: Option<&A>) {}
}

/// All aggregates as of one moment. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Snapshot<A: WithCompanion> {
    entries: imbl::OrdMap<A::Id, Arc<Entry<A>>>,
    pub index: A::Index,
}

impl<A: WithCompanion> Snapshot<A> {
    pub(crate) fn get(&self, id: &A::Id) -> Option<&Arc<Entry<A>>> {
        self.entries.get(id)
    }

    pub(crate) fn contains_key(&self, id: &A::Id) -> bool {
        self.entries.contains_key(id)
    }

    /// In the order of their ids.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&A::Id, &Arc<Entry<A>>)> {
        self.entries.iter()
    }

    /// In the order of their ids.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry<A>>> {
        self.entries.values()
    }

    /// Aggregates with this id or a greater one, in order.
    pub(crate) fn since(&self, id: A::Id) -> impl Iterator<Item = (&A::Id, &Arc<Entry<A>>)> {
        self.entries.range(id..)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<A: WithCompanion> Clone for Snapshot<A> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), index: self.index.clone() }
    }
}

impl<A: WithCompanion> Default for Snapshot<A> {
    fn default() -> Self {
        Self { entries: imbl::OrdMap::default(), index: A::Index::default() }
    }
}

/// An event as passed to listeners.
#[derive(Debug, Clone)]
pub(crate) struct Published<E> {
    /// The version after all events of the turn; `u64::MAX` when the aggregate is gone.
    pub version: u64,
    pub event: E,
}

type Listeners<A> = HashMap<<A as Aggregate>::Id, Vec<mpsc::UnboundedSender<Published<<A as Aggregate>::Event>>>>;

/// The read side of a ledger.
#[derive(Debug)]
pub(crate) struct Projection<A: WithCompanion> {
    current: RwLock<Snapshot<A>>,
    listeners: Mutex<Listeners<A>>,
    /// Notified when a new aggregate appears.
    appeared: Notify,
}

impl<A: WithCompanion> Default for Projection<A> {
    fn default() -> Self {
        Self { current: RwLock::default(), listeners: Mutex::default(), appeared: Notify::new() }
    }
}

impl<A: WithCompanion> Projection<A> {
    pub(crate) fn get(&self, id: &A::Id) -> Option<Arc<Entry<A>>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, as of one moment.
    pub(crate) fn snapshot(&self) -> Snapshot<A> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The secondary index alone.
    pub(crate) fn index(&self) -> A::Index {
        self.current.read().unwrap_or_else(PoisonError::into_inner).index.clone()
    }

    /// All events of an aggregate from now on, until it is gone. Listen first, then read the state, so that no event is
    /// missed.
    pub(crate) fn listen(&self, id: A::Id) -> mpsc::UnboundedReceiver<Published<A::Event>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut listeners = lock(&self.listeners);
        // Listeners of creations that failed are never removed by an event; closed ones are dropped here.
        if listeners.len() > LISTENED {
            listeners.retain(|_, senders| senders.iter().any(|sender| !sender.is_closed()));
        }
        let senders = listeners.entry(id).or_default();
        senders.retain(|sender| !sender.is_closed());
        senders.push(sender);
        receiver
    }

    /// Waits until the version of the aggregate differs from `version`, which is 0 for an absent one.
    pub(crate) async fn changed_since(&self, id: &A::Id, version: u64) {
        loop {
            let appeared = self.appeared.notified();
            tokio::pin!(appeared);
            appeared.as_mut().enable();
            let Some(entry) = self.get(id) else {
                if version != 0 {
                    return;
                }
                appeared.await;
                continue;
            };
            let changed = entry.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Enabled before the next read, so that a change in between is not missed.
            if self.get(id).map_or(0, |entry| entry.state.version()) != version {
                return;
            }
            changed.await;
        }
    }

    /// Waits until `holds` is true for the aggregate, or it is gone.
    pub(crate) async fn wait_until(&self, id: &A::Id, holds: impl Fn(&Entry<A>) -> bool) {
        loop {
            let Some(entry) = self.get(id) else { return };
            let changed = entry.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Enabled before the next read, so that a change in between is not missed.
            if self.get(id).is_none_or(|entry| holds(&entry)) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until recovery is done with the aggregate, or it is gone.
    pub(crate) async fn verified(&self, id: &A::Id) {
        self.wait_until(id, |entry| entry.verified).await;
    }

    /// Marks the aggregate as compared with the world by recovery.
    pub(crate) fn mark_verified(&self, id: &A::Id) {
        let mut current = self.write();
        let Some(entry) = current.entries.get(id).filter(|entry| !entry.verified).cloned() else { return };
        current.entries.insert(id.clone(), Arc::new(Entry { verified: true, ..(*entry).clone() }));
        drop(current);
        entry.shared.changed.notify_waiters();
    }

    /// Adds a state read from the store, not compared with the world yet. Returns the entry before.
    pub(crate) fn restore(&self, state: A, seq: u64) -> Option<Arc<Entry<A>>> {
        let mut current = self.write();
        let id = state.id().clone();
        let before = current.entries.remove(&id);
        current.index.replace(&id, before.as_ref().map(|entry| &entry.state), Some(&state));
        let entry = match &before {
            // Its waiters, queues and companion data stay.
            Some(before) => Entry { state, seq, verified: false, ..(**before).clone() },
            None => Entry::new(state, seq, false),
        };
        current.entries.insert(id, Arc::new(entry));
        drop(current);
        match &before {
            Some(before) => before.shared.changed.notify_waiters(),
            None => self.appeared.notify_waiters(),
        }
        before
    }

    /// Removes a state that, by its events read at start, is gone.
    pub(crate) fn forget(&self, id: &A::Id) {
        let mut current = self.write();
        if let Some(before) = current.entries.remove(id) {
            current.index.replace(id, Some(&before.state), None);
        }
    }

    /// The journal's publication: the state after its events becomes visible to every reader. Returns the entry before.
    pub(crate) fn publish(&self, id: &A::Id, after: Option<A>, seq: u64) -> Option<Arc<Entry<A>>> {
        let mut current = self.write();
        // Read under the lock: recovery marks entries as verified meanwhile.
        let before = current.entries.get(id).cloned();
        current.index.replace(id, before.as_ref().map(|entry| &entry.state), after.as_ref());
        match after {
            Some(state) => {
                let entry = match &before {
                    Some(before) => Entry { state, seq, ..(**before).clone() },
                    // Created while the daemon runs: it needs no comparison with the world.
                    None => Entry::new(state, seq, true),
                };
                current.entries.insert(id.clone(), Arc::new(entry));
            }
            None => {
                current.entries.remove(id);
            }
        }
        before
    }

    /// After the publication, when the events are readable too: notifies all waiters and listeners.
    pub(crate) fn notify(&self, id: &A::Id, before: Option<&Entry<A>>, events: &[A::Event], after: Option<&A>) {
        self.send(id, after.map_or(u64::MAX, A::version), events);
        match before {
            Some(before) => before.shared.changed.notify_waiters(),
            None => self.appeared.notify_waiters(),
        }
    }

    /// Replaces the state without an event, if the aggregate still has its version.
    pub(crate) fn amend(&self, state: A) {
        let mut current = self.write();
        let same = |entry: &&Arc<Entry<A>>| entry.state.version() == state.version();
        if let Some(entry) = current.entries.get(state.id()).filter(same).cloned() {
            current.index.replace(state.id(), Some(&entry.state), Some(&state));
            current.entries.insert(state.id().clone(), Arc::new(Entry { state, ..(*entry).clone() }));
        }
    }

    fn send(&self, id: &A::Id, version: u64, events: &[A::Event]) {
        let mut listeners = lock(&self.listeners);
        let Some(senders) = listeners.get_mut(id) else { return };
        for event in events {
            senders.retain(|sender| sender.send(Published { version, event: event.clone() }).is_ok());
        }
        // A closed channel signals to its listeners that the aggregate is gone.
        if version == u64::MAX || senders.is_empty() {
            listeners.remove(id);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Snapshot<A>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
