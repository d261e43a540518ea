//! Volumes: directories with data that outlive containers.
//!
//! ```text
//! <graph>/volumes/<name>/_data       the directory that containers see
//! <graph>/volumes/.removing-<name>/  on its way out: there only while the record says that it is being removed
//! ```
//!
//! A volume is its record in the journal. A directory without a record is never deleted with anything in it; creating a
//! volume of its name takes it over with its data, and a start of the daemon reports it. A removal is an intent, then
//! the deletion, then its outcome: see `remove.rs`.

mod anonymous;
mod create;
mod doubt;
mod error;
mod files;
mod fill;
mod leases;
pub(crate) mod records;
mod remove;
mod sweep;
#[cfg(test)]
mod tests;
mod users;

use std::path::PathBuf;
use std::sync::Arc;

use store::Journal;

use crate::domain::id::VolumeName;
use crate::domain::volume::Phase;
use crate::node::Node;
use crate::records::Containers;

pub(crate) use create::anonymous_name;
pub(crate) use error::VolumeError;
pub(crate) use fill::{FillError, are_to_be_filled, fill};
pub(crate) use leases::Lease;
pub(crate) use remove::Reclaimed;
pub(crate) use users::User;

/// All volumes: their ledger, and the leases of those that are about to be used.
#[derive(Debug)]
pub(crate) struct Volumes {
    node: Arc<Node>,
    ledger: records::Records,
    leases: leases::Leases,
    /// The containers, which name in their definitions the volumes that they use.
    containers: Arc<Containers>,
}

impl Volumes {
    pub(crate) fn new(node: Arc<Node>, journal: Journal, containers: Arc<Containers>) -> Arc<Self> {
        let ledger = records::Records::new(journal, node.shared_warnings());
        Arc::new(Self { node, ledger, leases: leases::Leases::default(), containers })
    }

    pub(crate) fn ledger(&self) -> &records::Records {
        &self.ledger
    }

    /// Where the volume's data lies, whether or not it exists.
    pub(crate) fn path(&self, name: &VolumeName) -> PathBuf {
        self.node.layout.volume_data(name)
    }

    /// Keeps these volumes from being removed until it is dropped: for a creation under way, until its container is
    /// recorded. Waits for a removal of one of them, but not for ever.
    pub(crate) async fn lease(&self, names: impl IntoIterator<Item = VolumeName>) -> Result<Lease<'_>, VolumeError> {
        self.leases.lease(names.into_iter().collect()).await
    }

    /// Whether the volume's removal was recorded and is not finished.
    fn is_being_removed(&self, name: &VolumeName) -> bool {
        self.ledger.get(name).is_some_and(|entity| entity.state.phase == Phase::Removing)
    }

    /// Work on a volume's files, off the threads that serve requests.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &VolumeName,
        work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
            let source = std::io::Error::other(panic);
            Err(VolumeError::Io { action: "work in", path: self.node.layout.volume(name), source })
        })
    }
}
