//! A container that may be made of an image and may take its volumes with it.

use serde::{Deserialize, Serialize};

use crate::v1::{EndV1, LastV1, RunV1, StartingV1};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardV2 {
    pub name: String,
    pub image: String,
    /// The digest of the image's config; none for a root filesystem of the host's.
    pub image_id: Option<[u8; 32]>,
    pub runtime: String,
    pub command: String,
    pub definition: [u8; 32],
    pub created_at: u64,
    pub auto_remove: bool,
    pub tty: bool,
    pub open_stdin: bool,
    pub stop_signal: i32,
    /// Seconds.
    pub stop_timeout: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequestedV2 {
    pub card: CardV2,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequestedV2 {
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// The savepoint row: a container's whole state but its id and version, which the row's envelope has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRowV2 {
    pub card: CardV2,
    pub phase: PhaseV2,
    pub last: LastV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseV2 {
    Creating,
    Created,
    Starting(StartingV1),
    Running(RunV1),
    Pausing(RunV1),
    Paused(RunV1),
    Resuming(RunV1),
    Exited(EndV1),
    Removing(RemovingV2),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovingV2 {
    pub run: Option<RunV1>,
    pub failed: Option<String>,
    pub volumes: bool,
}
