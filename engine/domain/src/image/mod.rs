//! One image: a description of its content, and the names it is held under.
//!
//! ```text
//!            Added (pulled, loaded, imported)
//!   absent ─────────────────────────────────▶ here ──Removed──▶ absent
//!                         Added, Tagged, Untagged ⟲
//! ```
//!
//! A crash leaves nothing half done: an image's files are on disk before its first event, and are removed after its
//! last. After a crash, the image store collects files without an event, and files left after the last one.
//!
//! Names are opaque here. Each has a number from a counter that only grows: of two images with the same name, the one
//! with the larger number has it. So a name moves with one event of its new image; the old one's `Untagged` may come
//! later.

mod aggregate;
mod command;
mod decide;
mod event;
mod evolve;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use decide::{Rejection, decide};
pub use event::Event;
pub use evolve::evolve;

use super::id::{Digest, Timestamp};

/// An image's state, folded from its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its config.
    pub id: Digest,
    /// How many events it has seen in this life: the version of its stream.
    pub version: u64,
    pub facts: Facts,
    /// In the order in which they were added.
    pub names: Vec<NameHeld>,
}

/// The description of an image in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub manifest: Digest,
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    pub layers: u16,
    /// When it was built, according to its config.
    pub created: Option<Timestamp>,
    /// When it was last pulled, loaded or imported.
    pub added_at: Timestamp,
    /// When a container was last created from it. In the row alone, without an event, so a crash may lose the newest
    /// value.
    pub used_at: Timestamp,
    /// Not removed by a prune.
    pub pinned: bool,
    pub os: String,
    pub architecture: String,
}

impl Facts {
    /// Bytes kept of `os` and of `architecture`.
    pub const WORD_LIMIT: usize = 64;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameHeld {
    pub name: String,
    pub since: u64,
}

/// How an image came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Pulled,
    Loaded,
    Imported,
}

impl Image {
    /// Bytes that all names of an image may take together, so that its row, and an event with all of them, stay below
    /// the journal's 4 KB.
    pub const NAMES_LIMIT: usize = 2600;

    /// Bytes that a name takes of `NAMES_LIMIT`, with its overhead in a record.
    pub fn name_cost(name: &str) -> usize {
        name.len() + 16
    }

    pub fn holds(&self, name: &str) -> bool {
        self.names.iter().any(|held| held.name == name)
    }
}
