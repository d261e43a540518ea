//! Events of an image: facts in the past tense, never edited.

use super::{Facts, Source};
use crate::id::Digest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Added { id: Digest, source: Source, facts: Facts, names: Vec<String>, since: u64 },
    Tagged { name: String, since: u64 },
    Untagged { name: String },
    Removed,
}

impl Event {
    /// The event's name in records and in `isula events`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Added { source: Source::Pulled, .. } => "ImagePulled",
            Self::Added { source: Source::Loaded, .. } => "ImageLoaded",
            Self::Added { source: Source::Imported, .. } => "ImageImported",
            Self::Tagged { .. } => "ImageTagged",
            Self::Untagged { .. } => "ImageUntagged",
            Self::Removed => "ImageRemoved",
        }
    }
}
