//! What may be asked of an image.

use super::{Facts, Source};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Its files are here, on disk. Also of an image that is here already: it gains the names.
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
    /// Always possible: whether anything needs the image is the caller's to know.
    Remove,
}
