//! One volume: a directory with data that outlives containers.
//!
//! ```text
//!   absent ──Created──▶ Ready ──RemoveRequested──▶ Removing ──Removed──▶ absent
//! ```
//!
//! After a crash there may be: before `Created`, a directory without a record, which the next creation of that name
//! takes over with its data; in `Removing`, some or all of the data, whose deletion recovery finishes.

mod aggregate;
mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use command::Command;
pub use decide::{Rejection, decide};
pub use event::Event;
pub use evolve::evolve;

use super::id::{Timestamp, VolumeName};

/// A volume's state, folded from its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: VolumeName,
    /// How many events it has seen in this life: the version of its stream.
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
    /// Its data is being deleted: only the removal can be requested again, or reported as complete.
    Removing,
}

impl Volume {
    /// Bytes that all labels of a volume may take together, so that its row stays below the journal's 4 KB.
    pub const LABELS_LIMIT: usize = 2600;

    /// Bytes that a label takes of `LABELS_LIMIT`, with its overhead in a record.
    pub fn label_cost(key: &str, value: &str) -> usize {
        key.len() + value.len() + 16
    }
}
