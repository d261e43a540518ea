//! Commands to a volume: requests of users, and reports of the world's state.

use std::collections::BTreeMap;

use crate::id::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Its directory already exists. No change for a known volume, whatever its labels.
    Create { labels: BTreeMap<String, String>, anonymous: bool, at: Timestamp },
    /// Always accepted: the caller has to check first that no container uses the volume.
    Remove,
    /// Its data is deleted.
    ReportRemoved,
}
