//! All containers as they are now: what every read is answered from. Written only by the journal's publication, in
//! journal order; a reader takes a structurally shared copy and never waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use crate::domain::container::{Container, Event};
use crate::domain::id::{ContainerId, Digest, Name, StartId};
use crate::files::Still;

/// A container and what the engine keeps beside its state.
#[derive(Debug, Clone)]
pub struct Entity {
    pub container: Container,
    /// Its last event's place in the journal.
    pub seq: u64,
    /// `false` until recovery has compared it with the world.
    pub verified: bool,
    kept: Arc<Kept>,
}

/// A container's labels.
pub type Labels = Arc<BTreeMap<String, String>>;

/// Bytes of labels that a container may cost in memory. Those of one with more are read when they are asked for.
const LABELS: usize = 1 << 10;

/// What lives as long as the container and is not state.
#[derive(Debug, Default)]
struct Kept {
    changed: Notify,
    /// Users' commands, one after the other.
    commands: Arc<tokio::sync::Mutex<()>>,
    /// Processes to be run in it, one after the other.
    execs: Arc<tokio::sync::Mutex<()>>,
    /// The world's reports, in their order, also while one waits for room on the disk.
    reports: Arc<tokio::sync::Mutex<()>>,
    /// Once they were read, and if they are few, with the digest of the definition that has them.
    labels: Mutex<Option<(Digest, Labels)>>,
    /// Updates, one after the other: each is made of what the last one has led to.
    updates: Arc<tokio::sync::Mutex<()>>,
    /// Held by blocking work on the container's files and mounts: what was abandoned and goes on late must not meet what
    /// follows it.
    files: Mutex<()>,
    still: Still,
    /// What the last start did differently from what was asked, for whoever has asked for it.
    warnings: Mutex<Vec<String>>,
    /// How many clients there are whose end is not recorded.
    attended: watch::Sender<usize>,
}

impl Entity {
    /// The next turn of those who queue there; fair.
    pub async fn place(&self, queue: Queue) -> tokio::sync::OwnedMutexGuard<()> {
        let places = match queue {
            Queue::Commands => &self.kept.commands,
            Queue::Execs => &self.kept.execs,
        };
        places.clone().lock_owned().await
    }

    /// The next report's turn; fair.
    pub async fn report_place(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.kept.reports.clone().lock_owned().await
    }

    /// The next update's turn; fair. Whoever has it writes and removes definitions beside the present one.
    pub async fn update_place(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.kept.updates.clone().lock_owned().await
    }

    /// The same if nobody has it.
    pub fn free_update_place(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.kept.updates.clone().try_lock_owned().ok()
    }

    /// The labels of the definition that the journal vouches for, if they were read already and are few.
    pub fn labels(&self) -> Option<Labels> {
        let known = lock(&self.kept.labels);
        known.as_ref().filter(|(digest, _)| *digest == self.container.card.definition).map(|(_, known)| known.clone())
    }

    /// Exclusive work on the container's files and mounts. Blocks.
    pub fn hold_files(&self) -> MutexGuard<'_, ()> {
        lock(&self.kept.files)
    }

    /// Notes what the start under way does differently from what was asked.
    pub fn put_warnings(&self, warnings: Vec<String>) {
        *lock(&self.kept.warnings) = warnings;
    }

    /// For whoever has asked for the start.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.kept.warnings))
    }

    /// Who may be at its root filesystem.
    pub fn still(&self) -> &Still {
        &self.kept.still
    }

    /// There is one client more, for as long as what this gives is kept.
    pub fn attend(&self) -> Attending {
        Attending::new(&self.kept)
    }

    /// Waits until the end of every client is recorded; false when patience ends first.
    pub async fn unattended(&self, patience: Duration) -> bool {
        let mut attended = self.kept.attended.subscribe();
        tokio::time::timeout(patience, attended.wait_for(|clients| *clients == 0)).await.is_ok()
    }

    /// Remembers the labels of the definition that the journal vouches for, if they are few; gives them back.
    pub fn remember_labels(&self, labels: &BTreeMap<String, String>) -> Labels {
        let labels = Labels::new(labels.clone());
        if labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS {
            *lock(&self.kept.labels) = Some((self.container.card.definition, labels.clone()));
        }
        labels
    }
}

/// A client whose end is not recorded yet. A clone is another one.
#[derive(Debug)]
pub struct Attending(Arc<Kept>);

impl Attending {
    fn new(kept: &Arc<Kept>) -> Self {
        kept.attended.send_modify(|clients| *clients += 1);
        Self(kept.clone())
    }
}

impl Clone for Attending {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.0.attended.send_modify(|clients| *clients -= 1);
    }
}

/// Who waits for whom at one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Users' commands.
    Commands,
    /// Processes to be run in it. The end of a container waits for its processes: behind a command that waits for that end,
    /// one would wait for itself.
    Execs,
}

/// An event as listeners get it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Stream version after the event.
    pub version: u64,
    pub event: Event,
}

/// The containers and the names they hold.
#[derive(Debug, Default)]
pub struct Containers {
    map: RwLock<imbl::OrdMap<ContainerId, Arc<Entity>>>,
    names: Mutex<HashMap<Name, ContainerId>>,
    listeners: Mutex<HashMap<ContainerId, Vec<mpsc::UnboundedSender<Told>>>>,
}

/// A reference that names no container, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    NotFound,
    Ambiguous,
}

impl Containers {
    pub fn get(&self, id: &ContainerId) -> Option<Arc<Entity>> {
        self.snapshot().get(id).cloned()
    }

    /// All of them, as of one moment.
    pub fn snapshot(&self) -> imbl::OrdMap<ContainerId, Arc<Entity>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By full id, name, or unambiguous prefix of an id, in this order.
    pub fn resolve(&self, reference: &str) -> Result<ContainerId, ResolveError> {
        let map = self.snapshot();
        // First of all: a name that looks like somebody's id must not take that one's calls.
        if let Ok(id) = reference.parse::<ContainerId>()
            && map.contains_key(&id)
        {
            return Ok(id);
        }
        if let Ok(name) = reference.parse::<Name>()
            && let Some(id) = lock(&self.names).get(&name).filter(|id| map.contains_key(*id))
        {
            return Ok(*id);
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if reference.is_empty() || reference.len() > 64 || !reference.bytes().all(hex) {
            return Err(ResolveError::NotFound);
        }
        let lowest = format!("{reference:0<64}").parse::<ContainerId>().map_err(|_| ResolveError::NotFound)?;
        let mut matching =
            map.range(lowest..).map(|(id, _)| *id).take_while(|id| id.to_string().starts_with(reference));
        match (matching.next(), matching.next()) {
            (None, _) => Err(ResolveError::NotFound),
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(ResolveError::Ambiguous),
        }
    }

    /// Holds a name for a container to be; the holder when it is taken.
    pub fn reserve_name(&self, name: &Name, id: ContainerId) -> Result<(), ContainerId> {
        let mut names = lock(&self.names);
        match names.get(name) {
            Some(holder) if *holder != id => Err(*holder),
            Some(_) => Ok(()),
            None => {
                names.insert(name.clone(), id);
                Ok(())
            }
        }
    }

    /// A container, or one that is being created: its name is reserved before its first file is made.
    pub fn knows(&self, id: &ContainerId) -> bool {
        self.get(id).is_some() || lock(&self.names).values().any(|holder| holder == id)
    }

    /// Gives a name back, if this container holds it.
    pub fn release_name(&self, name: &Name, id: ContainerId) {
        let mut names = lock(&self.names);
        if names.get(name) == Some(&id) {
            names.remove(name);
        }
    }

    /// Puts in a container read from the store, before anything else runs.
    pub fn restore(&self, container: Container, seq: u64) {
        let mut names = lock(&self.names);
        names.insert(container.card.name.clone(), container.id);
        drop(names);
        let id = container.id;
        let entity = Entity { container, seq, verified: false, kept: Arc::default() };
        self.map.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(entity));
    }

    /// Takes out a container whose events, read at start, say that it is gone.
    pub fn forget(&self, id: &ContainerId) {
        let gone = self.map.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(entity) = gone {
            self.release_name(&entity.container.card.name, *id);
        }
    }

    /// What recovery has compared with the world is marked so.
    pub fn mark_verified(&self, id: &ContainerId) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entity) = map.get(id).filter(|entity| !entity.verified) {
            let verified = Entity { verified: true, ..(**entity).clone() };
            map.insert(*id, Arc::new(verified));
        }
        drop(map);
        if let Some(entity) = self.get(id) {
            entity.kept.changed.notify_waiters();
        }
    }

    /// Waits until recovery is done with the container, or it is gone.
    pub async fn verified(&self, id: &ContainerId) {
        self.wait_until(id, |entity| entity.verified).await;
    }

    /// Waits until the container is attached to no network by this start or one before it, or it is gone.
    pub async fn detached(&self, id: &ContainerId, start: StartId) {
        let free = |entity: &Entity| entity.container.networks.iter().all(|attachment| attachment.start.0 > start.0);
        self.wait_until(id, free).await;
    }

    /// The journal's publication: the state after these events, then word to whoever waits.
    pub fn publish(&self, id: ContainerId, after: Option<Container>, seq: u64, events: &[Event]) {
        let version = after.as_ref().map_or(u64::MAX, |container| container.version);
        let name = after.as_ref().map(|container| container.card.name.clone());
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: recovery marks entities as verified meanwhile.
        let before = map.get(&id).cloned();
        let kept = before.as_ref().map(|entity| entity.kept.clone()).unwrap_or_default();
        // What is born while the daemon runs needs no comparison with the world.
        let verified = before.as_ref().is_none_or(|entity| entity.verified);
        match after {
            Some(container) => {
                map.insert(id, Arc::new(Entity { container, seq, verified, kept: kept.clone() }));
            }
            None => {
                map.remove(&id);
            }
        }
        drop(map);
        self.keep_names(id, before.as_ref().map(|entity| &entity.container.card.name), name.as_ref());
        self.tell(id, version, version == u64::MAX, events);
        kept.changed.notify_waiters();
    }

    fn keep_names(&self, id: ContainerId, old: Option<&Name>, new: Option<&Name>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.release_name(old, id);
        }
        // Reserved by the turn already; said again so that the map never depends on it.
        if let Some(new) = new {
            lock(&self.names).insert(new.clone(), id);
        }
    }

    fn tell(&self, id: ContainerId, version: u64, gone: bool, events: &[Event]) {
        let mut listeners = lock(&self.listeners);
        let Some(senders) = listeners.get_mut(&id) else { return };
        for event in events {
            senders.retain(|sender| sender.send(Told { version, event: event.clone() }).is_ok());
        }
        // Nothing more will be told of what is gone: whoever still listens is told that much.
        if gone || senders.is_empty() {
            listeners.remove(&id);
        }
    }

    /// All events of a container from now on. Listen first, then look at the state.
    pub fn listen(&self, id: ContainerId) -> mpsc::UnboundedReceiver<Told> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut listeners = lock(&self.listeners);
        // Ears of containers that came to nothing are nobody's to remove but ours.
        if listeners.len() > 1_000 {
            listeners.retain(|_, senders| senders.iter().any(|sender| !sender.is_closed()));
        }
        let senders = listeners.entry(id).or_default();
        senders.retain(|sender| !sender.is_closed());
        senders.push(sender);
        receiver
    }

    /// Waits until the container's version is another than `version`, or it is gone.
    pub async fn changed_since(&self, id: &ContainerId, version: u64) {
        self.wait_until(id, |entity| entity.container.version != version).await;
    }

    async fn wait_until(&self, id: &ContainerId, holds: impl Fn(&Entity) -> bool) {
        loop {
            let Some(entity) = self.get(id) else { return };
            let notified = entity.kept.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            // Enabled before looking again: a change in between is not missed.
            if self.get(id).is_none_or(|entity| holds(&entity)) {
                return;
            }
            notified.await;
        }
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
        let containers = Containers::default();
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
    fn a_name_has_one_holder_until_it_is_given_back() {
        let containers = Containers::default();
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
        let containers = Containers::default();
        let mut it = container("a", "old");
        containers.publish(it.id, Some(it.clone()), 1, &[]);
        it.card.name = "new".parse().unwrap();
        containers.publish(it.id, Some(it.clone()), 2, &[]);
        assert_eq!(containers.resolve("new"), Ok(it.id));
        assert_eq!(containers.resolve("old"), Err(ResolveError::NotFound));
        containers.publish(it.id, None, 3, &[Event::Removed]);
        assert_eq!(containers.resolve("new"), Err(ResolveError::NotFound));
    }

    #[tokio::test]
    async fn who_attends_is_waited_for() {
        let containers = Containers::default();
        let it = container("a", "x");
        containers.restore(it.clone(), 1);
        let entity = || containers.get(&it.id).unwrap();
        assert!(entity().unattended(Duration::ZERO).await);
        let first = entity().attend();
        let second = first.clone();
        // What is kept is kept through every change.
        containers.publish(it.id, Some(it.clone()), 2, &[]);
        drop(first);
        assert!(!entity().unattended(Duration::ZERO).await);
        let (entity, waiting) = (entity(), Duration::from_secs(60));
        let waiter = tokio::spawn(async move { entity.unattended(waiting).await });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiter.await.unwrap());
    }

    #[tokio::test]
    async fn a_waiter_sees_a_change_made_before_it_sleeps() {
        let containers = Arc::new(Containers::default());
        let mut it = container("a", "x");
        containers.restore(it.clone(), 1);
        let waiter = tokio::spawn({
            let (containers, id) = (containers.clone(), it.id);
            async move { containers.changed_since(&id, 1).await }
        });
        it.version = 2;
        containers.publish(it.id, Some(it.clone()), 2, &[]);
        waiter.await.unwrap();
        containers.changed_since(&it.id, 1).await;
    }
}
