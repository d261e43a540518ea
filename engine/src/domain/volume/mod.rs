//! One volume: a directory with data that outlives containers.
//!
//! ```text
//!   absent ──Created──▶ Ready ──RemoveRequested──▶ Removing ──Removed──▶ absent
//! ```
//!
//! What a crash leaves behind: before `Created`, a directory that no record knows, which the next creation of that name
//! takes over with its data; in `Removing`, perhaps all of the data, whose deletion recovery finishes.

mod aggregate;
mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

pub use command::Command;
pub use decide::{Rejection, decide};
pub use event::Event;
pub use evolve::evolve;

use super::id::{Timestamp, VolumeName};

/// A volume as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: VolumeName,
    /// How many events it has seen since it was created: the version of its stream.
    pub version: u64,
    pub labels: BTreeMap<String, String>,
    /// Made for one container, to be removed with it.
    pub anonymous: bool,
    pub created_at: Timestamp,
    pub phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Ready,
    /// Its data is being deleted: it can only be removed, again or to the end.
    Removing,
}

impl Volume {
    /// What all labels of a volume may take together, so that its row stays below the journal's 4 KB.
    pub const LABELS_LIMIT: usize = 2600;

    /// What a label takes of `LABELS_LIMIT`: its bytes and what is stored beside them.
    pub fn label_cost(key: &str, value: &str) -> usize {
        key.len() + value.len() + 16
    }
}
