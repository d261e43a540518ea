//! Containers beside their ledger: their names, and the data of each that is not state.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::container::{Container, Event};
use crate::domain::id::{ContainerId, Digest, Name, StartId};
use crate::files::RootAccess;
use crate::ledger::{Entry, Index, Ledger, Projection, Published, WithCompanion};

/// All containers.
pub type Containers = Ledger<Container>;

/// An event of a container as passed to its listeners.
pub type Change = Published<Event>;

/// A container as of one moment.
pub type Entity = Entry<Container>;

impl WithCompanion for Container {
    type Index = Names;
    type Companion = ContainerCompanion;
}

/// A container's labels.
pub type Labels = Arc<BTreeMap<String, String>>;

/// Bytes of labels cached in memory per container. Larger ones are read from the definition when they are needed.
const LABELS: usize = 1 << 10;

/// A container's data that is not state. It lives as long as the container.
#[derive(Debug, Default)]
pub struct ContainerCompanion {
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
    pub async fn update_place(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.companion().updates.clone().lock_owned().await
    }

    /// The same if it is free.
    pub fn free_update_place(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.companion().updates.clone().try_lock_owned().ok()
    }

    /// The labels of the container's present definition, if they are cached.
    pub fn labels(&self) -> Option<Labels> {
        let known = lock(&self.companion().labels);
        known.as_ref().filter(|(digest, _)| *digest == self.state.card.definition).map(|(_, known)| known.clone())
    }

    /// Exclusive work on the container's files and mounts. Blocks.
    pub fn hold_files(&self) -> MutexGuard<'_, ()> {
        lock(&self.companion().files)
    }

    /// Stores the differences of the pending start from its request.
    pub fn put_warnings(&self, warnings: Vec<String>) {
        *lock(&self.companion().warnings) = warnings;
    }

    /// Takes them, for the caller of the start.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.companion().warnings))
    }

    /// Access to its root filesystem, for copies, starts and removals.
    pub fn root_access(&self) -> &RootAccess {
        &self.companion().root_access
    }

    /// Counts a session until the guard is dropped.
    pub fn session_guard(&self) -> SessionGuard {
        SessionGuard::new(&self.companion().sessions)
    }

    /// Waits until the end of every session is recorded; false when the patience ends first.
    pub async fn sessions_ended(&self, patience: Duration) -> bool {
        let mut sessions = self.companion().sessions.subscribe();
        tokio::time::timeout(patience, sessions.wait_for(|clients| *clients == 0)).await.is_ok()
    }

    /// Caches the labels of the container's present definition, if they are few; returns them.
    pub fn remember_labels(&self, labels: &BTreeMap<String, String>) -> Labels {
        let labels = Labels::new(labels.clone());
        if labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS {
            *lock(&self.companion().labels) = Some((self.state.card.definition, labels.clone()));
        }
        labels
    }
}

/// A session without a recorded end. A clone counts as another one.
#[derive(Debug)]
pub struct SessionGuard(watch::Sender<usize>);

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

/// The holders of all names, including names reserved for pending creations. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<HashMap<Name, ContainerId>>>);

impl Names {
    fn holder(&self, name: &Name) -> Option<ContainerId> {
        lock(&self.0).get(name).copied()
    }

    /// Reserves a name for a container; fails with the holder when it is taken.
    fn reserve(&self, name: &Name, id: ContainerId) -> Result<(), ContainerId> {
        match *lock(&self.0).entry(name.clone()).or_insert(id) {
            holder if holder == id => Ok(()),
            holder => Err(holder),
        }
    }

    fn holds_any(&self, id: &ContainerId) -> bool {
        lock(&self.0).values().any(|holder| holder == id)
    }

    /// Releases a name, if this container holds it.
    fn release(&self, name: &Name, id: ContainerId) {
        let mut names = lock(&self.0);
        if names.get(name) == Some(&id) {
            names.remove(name);
        }
    }
}

impl Index<Container> for Names {
    fn replace(&mut self, id: &ContainerId, before: Option<&Container>, after: Option<&Container>) {
        let (old, new) = (before.map(|container| &container.card.name), after.map(|container| &container.card.name));
        if let Some(old) = old.filter(|_| old != new) {
            self.release(old, *id);
        }
        // Reserved by a creation or a rename already; repeated so that the table never depends on it.
        if let Some(new) = new.filter(|_| old != new) {
            lock(&self.0).insert(new.clone(), *id);
        }
    }
}

/// A reference that names no container, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    NotFound,
    Ambiguous,
}

impl Projection<Container> {
    /// By full id, name, or unambiguous prefix of an id, in this order.
    pub fn resolve(&self, reference: &str) -> Result<ContainerId, ResolveError> {
        let containers = self.snapshot();
        // Full ids come first: a container with another's id for its name must not receive that one's calls.
        if let Ok(id) = reference.parse::<ContainerId>()
            && containers.contains_key(&id)
        {
            return Ok(id);
        }
        if let Ok(name) = reference.parse::<Name>()
            && let Some(id) = containers.index.holder(&name).filter(|id| containers.contains_key(id))
        {
            return Ok(id);
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if reference.is_empty() || reference.len() > 64 || !reference.bytes().all(hex) {
            return Err(ResolveError::NotFound);
        }
        let lowest = format!("{reference:0<64}").parse::<ContainerId>().map_err(|_| ResolveError::NotFound)?;
        let ids = containers.since(lowest).map(|(id, _)| *id);
        let mut matching = ids.take_while(|id| id.to_string().starts_with(reference));
        match (matching.next(), matching.next()) {
            (None, _) => Err(ResolveError::NotFound),
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(ResolveError::Ambiguous),
        }
    }

    /// Reserves a name for a container; fails with the holder when it is taken.
    pub fn reserve_name(&self, name: &Name, id: ContainerId) -> Result<(), ContainerId> {
        self.index().reserve(name, id)
    }

    /// Releases a name, if this container holds it.
    pub fn release_name(&self, name: &Name, id: ContainerId) {
        self.index().release(name, id);
    }

    /// Whether the container exists or is being created: its name is reserved before its first file is made.
    pub fn knows(&self, id: &ContainerId) -> bool {
        self.get(id).is_some() || self.index().holds_any(id)
    }

    /// Waits until the container is attached to no network by this start or an earlier one, or it is gone.
    pub async fn detached(&self, id: &ContainerId, start: StartId) {
        let free = |entity: &Entity| entity.state.networks.iter().all(|attachment| attachment.start.0 > start.0);
        self.wait_until(id, free).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::container::{Card, HealthAction, Phase, RestartPolicy};
    use crate::domain::id::{Digest, Signal, Timestamp};

    pub fn container(id: &str, name: &str) -> Container {
        let card = Card {
            name: name.parse().unwrap(),
            image: "none".into(),
            image_id: None,
            runtime: "runc".into(),
            command: "sh".into(),
            definition: Digest([0; 32]),
            created_at: Timestamp(1),
            auto_remove: false,
            tty: false,
            open_stdin: false,
            stop_signal: Signal::TERM,
            stop_timeout: 10,
            restart: RestartPolicy::No,
            health: HealthAction::Unwatched,
        };
        let id = format!("{id:0<64}").parse().unwrap();
        Container { phase: Phase::Created, ..Container::new(id, card) }
    }

    #[test]
    fn references_resolve_by_name_then_id_then_prefix() {
        let containers = Projection::<Container>::default();
        let (a, b) = (container("ab1", "one"), container("ab2", "ab1"));
        containers.restore(a.clone(), 1);
        containers.restore(b.clone(), 2);
        assert_eq!(containers.resolve("one"), Ok(a.id));
        assert_eq!(containers.resolve("ab1"), Ok(b.id), "a name wins over a prefix");
        assert_eq!(containers.resolve("ab10"), Ok(a.id));
        let taken = container("cd", &a.id.to_string());
        containers.restore(taken, 3);
        assert_eq!(containers.resolve(&a.id.to_string()), Ok(a.id), "a full id wins over a name");
        assert_eq!(containers.resolve("ab"), Err(ResolveError::Ambiguous));
        assert_eq!(containers.resolve(&b.id.to_string()), Ok(b.id));
        for nothing in ["", "ac", "zz", "no such", &"a".repeat(65), &"f".repeat(64)] {
            assert_eq!(containers.resolve(nothing), Err(ResolveError::NotFound), "{nothing}");
        }
    }

    #[test]
    fn a_name_has_one_holder_until_it_is_released() {
        let containers = Projection::<Container>::default();
        let (a, b) = (container("a", "x"), container("b", "y"));
        let name: Name = "n".parse().unwrap();
        assert_eq!(containers.reserve_name(&name, a.id), Ok(()));
        assert_eq!(containers.reserve_name(&name, b.id), Err(a.id));
        containers.release_name(&name, b.id);
        assert_eq!(containers.reserve_name(&name, b.id), Err(a.id));
        assert!(containers.knows(&a.id) && !containers.knows(&b.id), "a name is held before its container is recorded");
        containers.release_name(&name, a.id);
        assert!(!containers.knows(&a.id));
        assert_eq!(containers.reserve_name(&name, b.id), Ok(()));
    }

    #[test]
    fn a_rename_moves_the_name_and_a_removal_frees_it() {
        let containers = Projection::<Container>::default();
        let mut it = container("a", "old");
        containers.publish(&it.id, Some(it.clone()), 1);
        it.card.name = "new".parse().unwrap();
        containers.publish(&it.id, Some(it.clone()), 2);
        assert_eq!(containers.resolve("new"), Ok(it.id));
        assert_eq!(containers.resolve("old"), Err(ResolveError::NotFound));
        containers.publish(&it.id, None, 3);
        assert_eq!(containers.resolve("new"), Err(ResolveError::NotFound));
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
