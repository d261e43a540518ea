//! The files of containers: copied in and out, exported, compared with the image.
//!
//! | | |
//! |---|---|
//! | `view.rs` | a container's tree as it sees it, walked by handles |
//! | `pack.rs`, `tar_writer.rs` | from a tree to a tar |
//! | `unpack.rs` | from a tar to a tree |
//! | `diff.rs` | the changes against the image |
//! | `open.rs` | the tree of a container, running or not |
//! | `work.rs` | all that as the engine's work: on threads, ended when its caller has gone |
//!
//! Nothing of it is a change of a container's state, so nothing is journalled. A crash leaves nothing: root filesystems
//! are mounted by handle, and files have no name before they are whole (or one that begins with `.isula-cp-`, where the
//! file system cannot do that).

pub(crate) mod diff;
mod error;
mod open;
pub(crate) mod pack;
mod tar_writer;
pub(crate) mod unpack;
pub(crate) mod view;
mod work;

pub(crate) use error::FilesError;
pub(crate) use unpack::UnpackOptions;
pub(crate) use work::{Facts, FactsKind, Outgoing, Part};

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::node::Node;
use crate::records::Containers;

/// Threads that may be at it; those that hang in a file system count.
const MOST: usize = 32;

/// The files of all containers, and the limit of concurrent copies.
#[derive(Debug)]
pub(crate) struct Files {
    node: Arc<Node>,
    containers: Arc<Containers>,
    places: Arc<Semaphore>,
}

impl Files {
    pub(crate) fn new(node: Arc<Node>, containers: Arc<Containers>) -> Arc<Self> {
        Arc::new(Self { node, containers, places: Arc::new(Semaphore::new(MOST)) })
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, FilesError> {
        self.places.clone().try_acquire_owned().map_err(|_| FilesError::TooMany { limit: MOST })
    }
}

#[cfg(test)]
mod tests;
