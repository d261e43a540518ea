//! Unpacked layers: their table, the holds on them, and how one is added and removed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::ingest::Ingest;
use super::{Dirs, ImageStore, StoreError, failed, lock};
use crate::layer::{self, Facts};
use engine_domain::id::Digest;

/// A whole layer.
#[derive(Debug, Clone)]
pub struct Layer {
    pub facts: Facts,
    /// When the layer was added.
    pub since: SystemTime,
}

/// The layers there are, by diff id.
#[derive(Debug, Default)]
pub(super) struct Table {
    layers: HashMap<Digest, Layer>,
    bytes: u64,
}

impl Table {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn insert(&mut self, diff_id: Digest, layer: Layer) {
        self.bytes += layer.facts.size;
        if let Some(before) = self.layers.insert(diff_id, layer) {
            self.bytes -= before.facts.size;
        }
    }

    fn remove(&mut self, diff_id: &Digest) -> Option<Layer> {
        let gone = self.layers.remove(diff_id);
        self.bytes -= gone.as_ref().map_or(0, |layer| layer.facts.size);
        gone
    }
}

/// Reads the layers on disk into the table. Returns warnings about unreadable ones.
pub(super) fn load(dirs: &Dirs, table: &mut Table) -> Vec<String> {
    let mut warnings = Vec::new();
    let entries = fs::read_dir(dirs.layers()).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.unwrap_or_else(|error| {
        warnings
            .push(format!("{}; no layer is used", engine_host::cause::chain(&failed("list", &dirs.layers())(error))));
        vec![]
    });
    for entry in entries {
        let name = entry.file_name();
        let Some(diff_id) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else { continue };
        let since = entry.metadata().and_then(|facts| facts.modified()).unwrap_or_else(|_| SystemTime::now());
        match layer::read_facts(&entry.path()) {
            Ok(facts) => table.insert(diff_id, Layer { facts, since }),
            Err(source) => {
                let error = StoreError::Layer { diff_id, source: source.into() };
                warnings.push(format!("{}; it is not used and stays where it is", engine_host::cause::chain(&error)));
            }
        }
    }
    warnings
}

/// The right to make or remove a layer.
pub type Maker = tokio::sync::OwnedMutexGuard<()>;

/// Layers that an operation is about to need: they stay until this is dropped.
#[derive(Debug)]
pub struct Hold {
    store: Arc<ImageStore>,
    layers: Vec<Digest>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock(&self.store.held);
        for diff_id in &self.layers {
            if let Some(count) = held.get_mut(diff_id) {
                *count -= 1;
                if *count == 0 {
                    held.remove(diff_id);
                }
            }
        }
    }
}

impl ImageStore {
    pub fn layer(&self, diff_id: &Digest) -> Option<Layer> {
        lock(&self.layers).layers.get(diff_id).cloned()
    }

    /// All of them, as of now.
    pub fn all_layers(&self) -> Vec<(Digest, Layer)> {
        lock(&self.layers).layers.iter().map(|(diff_id, layer)| (*diff_id, layer.clone())).collect()
    }

    /// Keeps these layers, also those that are still to come, from being removed.
    pub fn hold(self: &Arc<Self>, wanted: &[Digest]) -> Hold {
        let mut held = lock(&self.held);
        for diff_id in wanted {
            *held.entry(*diff_id).or_default() += 1;
        }
        Hold { store: self.clone(), layers: wanted.to_vec() }
    }

    /// Waits for the task that makes or removes this layer now: while the returned guard is kept, no other one does.
    pub async fn maker(&self, diff_id: &Digest) -> Maker {
        self.maker_place(diff_id).lock_owned().await
    }

    fn maker_place(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut makers = lock(&self.makers);
        makers.retain(|_, maker| maker.strong_count() > 0);
        let place = makers.get(diff_id).and_then(std::sync::Weak::upgrade).unwrap_or_default();
        makers.insert(*diff_id, Arc::downgrade(&place));
        place
    }

    /// Makes an unpacked layer visible under its diff id, once its content is on disk. Its name is after
    /// [`ImageStore::sync_names`]. The caller is the layer's maker.
    pub async fn commit(
        self: &Arc<Self>,
        ingest: Ingest,
        (diff_id, maker): (Digest, Maker),
        facts: Facts,
    ) -> Result<(), StoreError> {
        self.sync_content().await?;
        let store = self.clone();
        // The work goes on when the caller leaves: then it is still the maker's.
        let naming = tokio::task::spawn_blocking(move || {
            let _maker = maker;
            store.name_layer(ingest, diff_id, facts)
        });
        naming.await.unwrap_or_else(|panic| Err(failed("name", self.dirs.root())(io::Error::other(panic))))
    }

    fn name_layer(&self, ingest: Ingest, diff_id: Digest, facts: Facts) -> Result<(), StoreError> {
        if self.layer(&diff_id).is_some() {
            return Ok(());
        }
        let path = self.dirs.layer(&diff_id);
        // A layer that could not be read at the start: set aside.
        if path.exists() {
            let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let aside = path.with_extension(format!("damaged-{seconds}"));
            fs::rename(&path, &aside).map_err(failed("set aside", &path))?;
        }
        fs::rename(ingest.path(), &path).map_err(failed("name", &path))?;
        ingest.leave();
        lock(&self.layers).insert(diff_id, Layer { facts, since: SystemTime::now() });
        Ok(())
    }

    /// Removes those of `unwanted` that `needed` does not contain and that are neither held nor being made. Returns the
    /// bytes given back. Blocks.
    ///
    /// An operation that makes a layer needed holds it first.
    pub fn remove_layers(
        &self,
        unwanted: &[Digest],
        older_than: Duration,
        needed: impl Fn(&Digest) -> bool,
    ) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for diff_id in unwanted {
            let Ok(_maker) = self.maker_place(diff_id).try_lock_owned() else { continue };
            let Some(layer) = self.take_unneeded(diff_id, older_than, &needed) else { continue };
            let size = layer.facts.size;
            if let Err(error) = self.bury(diff_id) {
                lock(&self.layers).insert(*diff_id, layer);
                return Err(error);
            }
            bytes += size;
        }
        Ok(bytes)
    }

    /// Decided in one step: a hold comes before it, or finds no layer.
    fn take_unneeded(&self, diff_id: &Digest, older_than: Duration, needed: impl Fn(&Digest) -> bool) -> Option<Layer> {
        let mut layers = lock(&self.layers);
        let young = layers.layers.get(diff_id)?.since.elapsed().unwrap_or_default() < older_than;
        if young || lock(&self.held).contains_key(diff_id) || needed(diff_id) {
            return None;
        }
        layers.remove(diff_id)
    }

    /// Out of sight in one step, so that half a layer is never found under its name; then gone with its grave.
    fn bury(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let grave = self.ingest()?;
        let path = self.dirs.layer(diff_id);
        match fs::rename(&path, grave.path().join("removed")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Arc<ImageStore>) {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        store.open().unwrap();
        (dir, store)
    }

    async fn add(store: &Arc<ImageStore>, diff_id: Digest, size: u64) {
        let maker = store.maker(&diff_id).await;
        let ingest = store.ingest().unwrap();
        let facts = Facts { diff_id, tar_size: 1024, size, entries: 1 };
        fs::write(ingest.path().join("content"), "x").unwrap();
        store.commit(ingest, (diff_id, maker), facts).await.unwrap();
    }

    #[tokio::test]
    async fn an_unneeded_layer_is_removed_with_its_bytes() {
        let (_dir, store) = store();
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        add(&store, a, 10).await;
        add(&store, b, 5).await;
        add(&store, b, 5).await;
        assert_eq!((store.bytes(), store.all_layers().len()), (15, 2));
        assert_eq!(store.remove_layers(&[a, b], Duration::ZERO, |diff_id| *diff_id == b).unwrap(), 10);
        assert_eq!((store.bytes(), store.layer(&a).is_some()), (5, false));
        assert!(!store.dirs().layer(&a).exists() && store.dirs().layer(&b).exists());
        assert_eq!(fs::read_dir(store.dirs().ingest()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn held_young_and_unfinished_layers_stay() {
        let (_dir, store) = store();
        let diff_id = Digest([1; 32]);
        add(&store, diff_id, 10).await;
        let hold = (store.hold(&[diff_id]), store.hold(&[diff_id]));
        drop(hold.0);
        assert_eq!(store.remove_layers(&[diff_id], Duration::ZERO, |_| false).unwrap(), 0);
        drop(hold.1);
        assert_eq!(store.remove_layers(&[diff_id], Duration::from_secs(3600), |_| false).unwrap(), 0);
        let maker = store.maker(&diff_id).await;
        assert_eq!(store.remove_layers(&[diff_id], Duration::ZERO, |_| false).unwrap(), 0);
        drop(maker);
        assert_eq!(store.remove_layers(&[diff_id], Duration::ZERO, |_| false).unwrap(), 10);
    }

    #[tokio::test]
    async fn an_unreadable_layer_is_reported_and_makes_way() {
        let (_dir, store) = store();
        let diff_id = Digest([1; 32]);
        fs::create_dir(store.dirs().layer(&diff_id)).unwrap();
        let warnings = store.open().unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains(&diff_id.to_string()), "{warnings:?}");
        assert!(store.layer(&diff_id).is_none());
        add(&store, diff_id, 1).await;
        assert_eq!(fs::read_dir(store.dirs().layers()).unwrap().count(), 2, "the old one is kept aside");
    }
}
