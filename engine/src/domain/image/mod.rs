//! One image: what is known of its content, and the names it is held under.
//!
//! ```text
//!            Added (pulled, loaded, imported)
//!   absent ─────────────────────────────────▶ here ──Removed──▶ absent
//!                         Added, Tagged, Untagged ⟲
//! ```
//!
//! A crash leaves nothing half done: an image's files are on disk before its first event, and are removed after its last.
//! What a crash leaves of files without an event, or after it, the image store collects.
//!
//! Names are opaque here. Each has a number from a counter that only grows: of two images with the same name, the one with
//! the larger number has it. So a name moves with one event of its new image; the old one's `Untagged` may come later.

mod aggregate;
mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
pub(crate) mod tests;

pub use command::Command;
pub use decide::{Rejection, decide};
pub use event::Event;
pub use evolve::evolve;

use super::id::{Digest, Timestamp};

/// An image as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Of its config.
    pub id: Digest,
    /// How many events it has seen since it came here: the version of its stream.
    pub version: u64,
    pub facts: Facts,
    /// In the order they came.
    pub names: Vec<NameHeld>,
}

/// What is said of an image in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub manifest: Digest,
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    pub layers: u16,
    /// When it was built, as it says.
    pub created: Option<Timestamp>,
    /// When it came here last.
    pub added_at: Timestamp,
    /// When a container was last made of it. Kept in the row alone: no event tells it, and a crash may forget the newest.
    pub used_at: Timestamp,
    /// Not to be removed by a prune.
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
    /// What all names of an image may take together, so that its row, and an event with all of them, stay below the
    /// journal's 4 KB.
    pub const NAMES_LIMIT: usize = 2600;

    /// What a name takes of `NAMES_LIMIT`: its bytes and what is stored beside them.
    pub fn name_cost(name: &str) -> usize {
        name.len() + 16
    }

    pub fn holds(&self, name: &str) -> bool {
        self.names.iter().any(|held| held.name == name)
    }
}
