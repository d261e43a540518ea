//! Events of a volume: facts in the past tense, never edited.

use std::collections::BTreeMap;

use crate::id::{Timestamp, VolumeName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Created { name: VolumeName, labels: BTreeMap<String, String>, anonymous: bool, at: Timestamp },
    RemoveRequested,
    Removed,
}

impl Event {
    /// The event's name in records and in `isula events`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "VolumeCreated",
            Self::RemoveRequested => "VolumeRemoveRequested",
            Self::Removed => "VolumeRemoved",
        }
    }
}
