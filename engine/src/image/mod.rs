//! Images: their records, their layers on disk, and the operations that add and remove them.
//!
//! Content is addressed by SHA-256. An image is a record in the journal, a manifest and a config as files, and layers
//! that are unpacked once, whatever images they are in: an unpacked layer looks the same on any layers below
//! it. Nothing is visible before it is whole and on disk.

mod add;
mod built_in;
mod collect;
mod cover;
mod error;
mod feed;
mod find;
mod import;
mod list;
mod load;
mod making;
mod outlet;
pub(crate) mod pause;
pub(crate) mod progress;
mod pull;
pub(crate) mod records;
mod remove;
mod save;
mod uses;
mod view;

pub(crate) use engine_images::{layer, manifest, reference, registry, store};

pub(crate) use error::ImageError;
pub(crate) use feed::{Feed, Pieces, feed};
pub(crate) use find::stack;
pub(crate) use import::Import;
pub(crate) use list::{Chosen, Listed};
pub(crate) use load::Loaded;
pub(crate) use pull::{Pulling, Wanted};
pub(crate) use remove::familiar;
pub(crate) use remove::{Pruned, Removal};
pub(crate) use save::Format;
pub(crate) use uses::ImageLease;

use std::path::PathBuf;
use std::sync::Arc;

use ::store::Journal;

use self::find::Configs;
use self::pull::Pulls;
use self::registry::{Registry, Secret};
use self::store::ImageStore;
use self::uses::{ImageLeases, LayerUses};
use crate::domain::id::Digest;
use crate::node::Node;
use crate::records::Containers;

/// All images: their ledger, their files, and the work that adds and removes them.
#[derive(Debug)]
pub(crate) struct Images {
    node: Arc<Node>,
    ledger: records::Records,
    store: Arc<ImageStore>,
    configs: Configs,
    leases: Arc<ImageLeases>,
    layer_uses: LayerUses,
    /// Serializes changes of images' names and removals, since each decides on the outcome of the others.
    changes: tokio::sync::Mutex<()>,
    pulls: Pulls,
    registry: Registry,
    /// The containers, which name the images that they were made of.
    containers: Arc<Containers>,
}

impl Images {
    pub(crate) fn new(node: Arc<Node>, journal: Journal, containers: Arc<Containers>) -> Arc<Self> {
        Arc::new(Self {
            ledger: records::Records::new(journal, node.shared_warnings()),
            store: ImageStore::new(node.layout.images()),
            configs: Configs::default(),
            leases: Arc::default(),
            layer_uses: LayerUses::default(),
            changes: tokio::sync::Mutex::default(),
            pulls: Pulls::default(),
            registry: Registry::new(registry_settings(&node)),
            containers,
            node,
        })
    }

    pub(crate) fn ledger(&self) -> &records::Records {
        &self.ledger
    }

    /// Waits until the images' files were examined after the daemon's start.
    pub(crate) async fn ready(&self) {
        self.store.ready().await;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.store.is_ready()
    }

    /// Bytes on disk of all layers and documents.
    pub(crate) fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Bytes of the layer's files; 0 when it is not here.
    pub(crate) fn layer_size(&self, diff_id: &Digest) -> u64 {
        self.store.layer(diff_id).map_or(0, |layer| layer.facts.size)
    }

    /// Where the layer's files lie, whether or not they are here.
    pub(crate) fn layer_files(&self, diff_id: &Digest) -> PathBuf {
        self.store.dirs().layer(diff_id).join("fs")
    }

    /// The image is not removed while the lease is kept; an error when its removal has begun.
    pub(crate) fn lease(&self, id: Digest) -> Result<ImageLease, ImageError> {
        self.leases.lease(id)
    }

    /// Stores credentials for a registry, once it has accepted them. Returns the registry's name.
    pub(crate) async fn login(&self, server: &str, user: &str, password: &Secret) -> Result<String, ImageError> {
        self.registry.login(server, user, password).await.map_err(|error| ImageError::Login(error.into()))
    }

    /// Forgets the credentials for a registry.
    pub(crate) async fn logout(&self, server: &str) -> Result<(), ImageError> {
        self.registry.logout(server).await.map(drop).map_err(|error| ImageError::Login(error.into()))
    }
}

fn registry_settings(node: &Node) -> registry::Settings {
    let images = &node.config.images;
    let auth_file = images.auth_file.clone().unwrap_or_else(|| node.layout.auth_file());
    let mut settings = registry::Settings::new(images.certs_dir.clone(), auth_file);
    settings.mirrors.clone_from(&images.mirrors);
    settings.insecure.clone_from(&images.insecure);
    settings
}
