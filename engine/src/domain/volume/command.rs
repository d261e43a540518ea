//! What may be asked of a volume, and what the world reports of it.

use std::collections::BTreeMap;

use crate::domain::id::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Its directory is here. Of one that exists: nothing, whatever its labels.
    Create { labels: BTreeMap<String, String>, anonymous: bool, at: Timestamp },
    /// Whether anything uses it is the caller's to know.
    Remove,
    /// Its data is deleted.
    ReportRemoved,
}
