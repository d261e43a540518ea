//! The files of images: blobs (manifests and configs) and unpacked layers, both named by their content.
//!
//! ```text
//! <graph>/images/blobs/<digest>       whole documents
//! <graph>/images/layers/<diff id>     whole layers: `fs/` and the files that `layer` keeps beside it
//! <graph>/images/ingest/<random>      in the making; nothing there outlives the daemon
//! <graph>/images/covers/<image id>    which further layer an image needs, if any
//! <graph>/images/views/<image id>     where read-only views are mounted
//! ```
//!
//! A name under `blobs` or `layers` appears by a rename, after its content has reached the disk. Content that no image
//! needs is found by comparing with the images' records, see `collect`; running operations hold the layers that they
//! are about to need.

mod blobs;
mod covers;
mod ingest;
mod layers;
mod sync;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::layer::LayerError;
use engine_domain::id::Digest;
use engine_host::fs::Mounts;

pub use ingest::{Ingest, Spool};
pub use layers::{Hold, Layer, Maker};

/// A failed access to the files of images.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} `{path}`{}", hint(.source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("`{path}` is not what its name says: its digest is {found}")]
    Altered { path: PathBuf, found: Digest },
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("the layer {diff_id} cannot be read")]
    Layer { diff_id: Digest, source: Box<LayerError> },
    #[error("the disk below `{path}` has not flushed its writes within {} s", sync::DEADLINE.as_secs())]
    Slow { path: PathBuf },
}

/// A full disk is the one error that every operator can mend.
fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::StorageFull { ": the disk is full; `isula image prune` makes room" } else { "" }
}

/// The directories.
#[derive(Debug, Clone)]
pub struct Dirs {
    root: PathBuf,
}

impl Dirs {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    pub fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub fn covers(&self) -> PathBuf {
        self.root.join("covers")
    }

    /// A mark that exists while images may be missing in the records: nothing is removed then.
    pub fn unsure(&self) -> PathBuf {
        self.root.join("unsure")
    }

    pub fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    pub fn view(&self, image: &Digest) -> PathBuf {
        self.views().join(image.hex())
    }
}

/// The store of images' content. One per daemon.
#[derive(Debug)]
pub struct ImageStore {
    dirs: Dirs,
    layers: Mutex<layers::Table>,
    /// Layers that running operations need, and how many of them do.
    held: Mutex<HashMap<Digest, usize>>,
    /// The locks under which layers are made, one for each.
    makers: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    sync: sync::SyncGroup,
    /// Bytes of all blobs.
    blob_bytes: AtomicU64,
    /// The table is as on disk.
    ready: watch::Sender<bool>,
}

impl ImageStore {
    /// Nothing is read or made yet: see [`Self::open`].
    pub fn new(root: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            dirs: Dirs::new(root),
            layers: Mutex::default(),
            held: Mutex::default(),
            makers: Mutex::default(),
            sync: sync::SyncGroup::default(),
            blob_bytes: AtomicU64::new(0),
            ready: watch::Sender::new(false),
        })
    }

    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    /// Makes the directories, removes the remains of interrupted work, and reads which layers there are. Blocks.
    /// Returns warnings about unreadable layers; they stay where they are.
    pub fn open(&self) -> Result<Vec<String>, StoreError> {
        self.make_and_load()
    }

    /// The files on disk were read and compared with the records: operations may begin.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Reads which layers there are, and changes nothing. Blocks. Returns warnings about unreadable ones.
    pub fn look(&self) -> Vec<String> {
        layers::load(&self.dirs, &mut lock(&self.layers))
    }

    fn make_and_load(&self) -> Result<Vec<String>, StoreError> {
        let dirs = &self.dirs;
        for dir in [dirs.blobs(), dirs.layers(), dirs.covers(), dirs.ingest(), dirs.views()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed("make", &dir))?;
        }
        let mut warnings = ingest::clear(&self.dirs);
        warnings.extend(layers::load(&self.dirs, &mut lock(&self.layers)));
        self.blob_bytes.store(blobs::total(&self.dirs)?, Ordering::Relaxed);
        Ok(warnings)
    }

    /// Waits until the layers are known: a moment after the daemon's start.
    pub async fn ready(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Bytes on disk: of all layers, each counted once, and all blobs. Counted as they come and go, not by looking.
    pub fn bytes(&self) -> u64 {
        lock(&self.layers).bytes() + self.blob_bytes.load(Ordering::Relaxed)
    }

    /// Flushes all that was written into ingests so far to disk. Several callers share one sync.
    async fn sync_content(&self) -> Result<(), StoreError> {
        self.sync.sync(&self.dirs.ingest()).await
    }

    /// Flushes the names that layers were given so far to disk: before a record refers to them.
    pub async fn sync_names(&self) -> Result<(), StoreError> {
        let dir = self.dirs.layers();
        sync::blocking(self.dirs.root(), move || {
            fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", &dir))
        })
        .await
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a directory with all it holds, whatever its modes are; one that is gone is fine.
fn remove_tree(path: &Path) -> Result<(), StoreError> {
    engine_host::fs::remove_tree(path, Mounts::Refuse).map_err(failed("remove", path))
}
