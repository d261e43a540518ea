//! All volumes as they are now: what every read is answered from. Written only by the journal's publication, in journal
//! order; a reader takes a structurally shared copy and never waits.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use crate::domain::id::VolumeName;
use crate::domain::volume::Volume;
use crate::turn::Lanes;

/// A volume and where its record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    pub volume: Volume,
    /// Its last event's place in the journal.
    pub seq: u64,
}

/// The volumes, by name.
#[derive(Debug, Default)]
pub struct Records {
    map: RwLock<imbl::OrdMap<VolumeName, Arc<Entity>>>,
    changed: Notify,
    pub(crate) lanes: Lanes,
}

impl Records {
    pub fn get(&self, name: &VolumeName) -> Option<Arc<Entity>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, as of one moment.
    pub fn snapshot(&self) -> imbl::OrdMap<VolumeName, Arc<Entity>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts in a volume read from the store, before anything else runs.
    pub fn restore(&self, volume: Volume, seq: u64) {
        self.put(&volume.name.clone(), Some(volume), seq);
    }

    /// Takes out a volume whose events, read at start, say that it is gone.
    pub fn forget(&self, name: &VolumeName) {
        self.put(name, None, 0);
    }

    /// The journal's publication: the state after its events, then word to whoever waits.
    pub fn publish(&self, name: &VolumeName, after: Option<Volume>, seq: u64) {
        self.put(name, after, seq);
        self.changed.notify_waiters();
    }

    /// Waits until the volume's version is another than `version`, which is 0 for one that does not exist.
    pub async fn changed_since(&self, name: &VolumeName, version: u64) {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            // Enabled before looking: a change in between is not missed.
            if self.get(name).map_or(0, |entity| entity.volume.version) != version {
                return;
            }
            notified.await;
        }
    }

    fn put(&self, name: &VolumeName, volume: Option<Volume>, seq: u64) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        match volume {
            Some(volume) => map.insert(name.clone(), Arc::new(Entity { volume, seq })),
            None => map.remove(name),
        };
    }
}
