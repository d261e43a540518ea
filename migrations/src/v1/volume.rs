//! A volume. Its stream's id is its name, which therefore has at most 128 bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCreatedV1 {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Made for one container, to be removed with it.
    pub anonymous: bool,
    pub created_at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRemoveRequestedV1 {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRemovedV1 {}

/// The savepoint row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRowV1 {
    pub labels: BTreeMap<String, String>,
    pub anonymous: bool,
    pub created_at: u64,
    pub phase: VolumePhaseV1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumePhaseV1 {
    Ready,
    Removing,
}
