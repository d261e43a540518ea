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

mod create;
mod doubt;
mod error;
mod files;
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
use crate::engine::Engine;
use crate::warnings::Warnings;

pub(crate) use create::{anonymous_name, ensure};
pub(crate) use doubt::note_removals_in_doubt;
pub(crate) use error::VolumeError;
pub(crate) use leases::Lease;
pub(crate) use remove::{Reclaimed, finish_removals, prune, remove, remove_anonymous};
pub(crate) use sweep::sweep;
pub(crate) use users::{User, users};

/// The volumes of the engine, and the leases of those that are about to be used.
#[derive(Debug)]
pub(crate) struct Volumes {
    pub records: records::Records,
    leases: leases::Leases,
}

impl Volumes {
    pub(crate) fn new(journal: Journal, warnings: Arc<Warnings>) -> Self {
        Self { records: records::Records::new(journal, warnings), leases: leases::Leases::default() }
    }

    /// Keeps these volumes from being removed until it is dropped: for a creation under way, until its container is
    /// recorded. Waits for a removal of one of them, but not for ever.
    pub(crate) async fn lease(&self, names: impl IntoIterator<Item = VolumeName>) -> Result<Lease<'_>, VolumeError> {
        self.leases.lease(names.into_iter().collect()).await
    }

    /// Whether the volume's removal was recorded and is not finished.
    fn is_being_removed(&self, name: &VolumeName) -> bool {
        self.records.get(name).is_some_and(|entity| entity.state.phase == Phase::Removing)
    }
}

/// Where the volume's data lies, whether or not it exists.
pub(crate) fn path(engine: &Engine, name: &VolumeName) -> PathBuf {
    engine.node.layout.volume_data(name)
}

/// Work on a volume's files, off the threads that serve requests.
async fn blocking<T: Send + 'static>(
    engine: &Engine,
    name: &VolumeName,
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        let source = std::io::Error::other(panic);
        Err(VolumeError::Io { action: "work in", path: engine.node.layout.volume(name), source })
    })
}
