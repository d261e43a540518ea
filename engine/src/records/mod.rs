//! The engine's data of each container: its entry in the ledger, its names, its definition, and data that is not state.

mod candidates;
mod cgroup;
mod definitions;
mod names;
mod process;
mod root_access;

pub(crate) use candidates::{Candidate, Candidates, candidates, entries, is_unborn, unlisted};
pub(crate) use names::{Names, ResolveError};
pub(crate) use process::{to_process, to_reference};
pub(crate) use root_access::{LAST_COPY_PATIENCE, RootAccess, SharedAccess};

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::Journal;
use tokio::sync::watch;

use crate::definition;
use crate::domain::container::{Container, Event};
use crate::domain::id::Digest;
use crate::ledger::{Entry, Ledger, Published, WithCompanion};
use crate::node::Node;

/// All containers: their ledger, and their definitions.
#[derive(Debug)]
pub(crate) struct Containers {
    node: Arc<Node>,
    ledger: Ledger<Container>,
    definitions: definition::Recent,
}

impl Containers {
    pub(crate) fn new(node: Arc<Node>, journal: Journal) -> Arc<Self> {
        let ledger = Ledger::new(journal, node.shared_warnings());
        Arc::new(Self { node, ledger, definitions: definition::Recent::default() })
    }

    pub(crate) fn ledger(&self) -> &Ledger<Container> {
        &self.ledger
    }
}

impl Deref for Containers {
    type Target = Ledger<Container>;

    fn deref(&self) -> &Self::Target {
        &self.ledger
    }
}

/// An event of a container as passed to its listeners.
pub(crate) type Change = Published<Event>;

/// A container as of one moment.
pub(crate) type Entity = Entry<Container>;

impl WithCompanion for Container {
    type Index = Names;
    type Companion = ContainerCompanion;
}

/// A container's labels.
pub(crate) type Labels = Arc<BTreeMap<String, String>>;

/// Bytes of labels cached in memory per container. Larger ones are read from the definition when they are needed.
const LABELS: usize = 1 << 10;

/// A container's data that is not state. It lives as long as the container.
#[derive(Debug, Default)]
pub(crate) struct ContainerCompanion {
    /// Cached after the first read, if they are few, with the digest of their definition.
    labels: Mutex<Option<(Digest, Labels)>>,
    /// Serializes updates: each is made from the outcome of the last one.
    updates: Arc<tokio::sync::Mutex<()>>,
    /// Held by blocking work on the container's files and mounts: cancelled work that goes on late must not overlap
    /// with the work after it.
    files: Mutex<()>,
    root_access: RootAccess,
    /// Differences of the last start from its request.
    warnings: Mutex<Vec<String>>,
    /// The number of sessions without a recorded end.
    sessions: watch::Sender<usize>,
}

impl Entity {
    /// The next update's place; fair. Its holder writes and removes definitions beside the present one.
    pub(crate) async fn update_place(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.companion().updates.clone().lock_owned().await
    }

    /// The same if it is free.
    pub(crate) fn free_update_place(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.companion().updates.clone().try_lock_owned().ok()
    }

    /// The labels of the container's present definition, if they are cached.
    pub(crate) fn labels(&self) -> Option<Labels> {
        let known = lock(&self.companion().labels);
        known.as_ref().filter(|(digest, _)| *digest == self.state.card.definition).map(|(_, known)| known.clone())
    }

    /// Exclusive work on the container's files and mounts. Blocks.
    pub(crate) fn hold_files(&self) -> MutexGuard<'_, ()> {
        lock(&self.companion().files)
    }

    /// Stores the differences of the pending start from its request.
    pub(crate) fn put_warnings(&self, warnings: Vec<String>) {
        *lock(&self.companion().warnings) = warnings;
    }

    /// Takes them, for the caller of the start.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.companion().warnings))
    }

    /// Access to its root filesystem, for copies, starts and removals.
    pub(crate) fn root_access(&self) -> &RootAccess {
        &self.companion().root_access
    }

    /// Counts a session until the guard is dropped.
    pub(crate) fn session_guard(&self) -> SessionGuard {
        SessionGuard::new(&self.companion().sessions)
    }

    /// Waits until the end of every session is recorded; false when the patience ends first.
    pub(crate) async fn sessions_ended(&self, patience: Duration) -> bool {
        let mut sessions = self.companion().sessions.subscribe();
        tokio::time::timeout(patience, sessions.wait_for(|clients| *clients == 0)).await.is_ok()
    }

    /// Caches the labels of the container's present definition, if they are few; returns them.
    pub(crate) fn remember_labels(&self, labels: &BTreeMap<String, String>) -> Labels {
        let labels = Labels::new(labels.clone());
        if labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS {
            *lock(&self.companion().labels) = Some((self.state.card.definition, labels.clone()));
        }
        labels
    }
}

/// A session without a recorded end. A clone counts as another one.
#[derive(Debug)]
pub(crate) struct SessionGuard(watch::Sender<usize>);

impl SessionGuard {
    fn new(sessions: &watch::Sender<usize>) -> Self {
        sessions.send_modify(|clients| *clients += 1);
        Self(sessions.clone())
    }
}

impl Clone for SessionGuard {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.send_modify(|clients| *clients -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::container::testing::card;
    use crate::domain::container::{Card, Phase};
    use crate::ledger::Projection;

    pub(super) fn container(id: &str, name: &str) -> Container {
        let card = Card { name: name.parse().unwrap(), ..card() };
        let id = format!("{id:0<64}").parse().unwrap();
        Container { phase: Phase::Created, ..Container::new(id, card) }
    }

    #[tokio::test]
    async fn open_sessions_are_waited_for() {
        let containers = Projection::<Container>::default();
        let it = container("a", "x");
        containers.restore(it.clone(), 1);
        let entity = || containers.get(&it.id).unwrap();
        assert!(entity().sessions_ended(Duration::ZERO).await);
        let first = entity().session_guard();
        let second = first.clone();
        // Companion data survives every change of the state.
        containers.publish(&it.id, Some(it.clone()), 2);
        drop(first);
        assert!(!entity().sessions_ended(Duration::ZERO).await);
        let (entity, waiting) = (entity(), Duration::from_secs(60));
        let waiter = tokio::spawn(async move { entity.sessions_ended(waiting).await });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiter.await.unwrap());
    }

    #[tokio::test]
    async fn a_waiter_sees_a_change_made_before_it_sleeps() {
        let containers = Arc::new(Projection::<Container>::default());
        let mut it = container("a", "x");
        containers.restore(it.clone(), 1);
        let waiter = tokio::spawn({
            let (containers, id) = (containers.clone(), it.id);
            async move { containers.changed_since(&id, 1).await }
        });
        it.version = 2;
        let before = containers.publish(&it.id, Some(it.clone()), 2);
        containers.notify(&it.id, before.as_deref(), &[], Some(&it));
        waiter.await.unwrap();
        containers.changed_since(&it.id, 1).await;
    }
}
