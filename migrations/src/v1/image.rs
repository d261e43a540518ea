//! An image. Its stream's id is the digest of its config, which is the image's id.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFactsV1 {
    pub manifest: [u8; 32],
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    pub layers: u16,
    /// The time of its build, from its config.
    pub created: Option<u64>,
    /// The time when it was last added.
    pub added_at: u64,
    pub used_at: u64,
    pub pinned: bool,
    pub os: String,
    pub architecture: String,
}

/// A name and the number of its assignment: of two images with the same name, the one with the larger number has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNameV1 {
    pub name: String,
    pub since: u64,
}

/// The image was added, perhaps again: pulled, loaded or imported, according to the event's kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageAddedV1 {
    pub facts: ImageFactsV1,
    pub names: Vec<String>,
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTaggedV1 {
    pub name: String,
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUntaggedV1 {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRemovedV1 {}

/// The savepoint row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRowV1 {
    pub facts: ImageFactsV1,
    pub names: Vec<ImageNameV1>,
}
