//! Commands to an image.

use super::{Facts, Source};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Its files are already on disk. For a known image: it gains the names.
    Add {
        source: Source,
        facts: Facts,
        names: Vec<String>,
        /// From the counter, for all of the names.
        since: u64,
    },
    Tag {
        name: String,
        since: u64,
    },
    Untag {
        name: String,
    },
    /// Always accepted: the caller has to check first that no container needs the image.
    Remove,
}
