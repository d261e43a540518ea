//! A container that may be started again by itself, whose health may be known, that may be changed and attached to networks.

use serde::{Deserialize, Serialize};

use crate::v1::{EndV1, LastV1, ProcessV1, StartingV1, StopV1};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardV3 {
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
    pub restart: RestartPolicyV1,
    pub health: HealthActionV1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicyV1 {
    No,
    Always,
    UnlessStopped,
    /// 0 is no limit.
    OnFailure {
        retries: u32,
    },
    OnReboot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthActionV1 {
    Unwatched,
    Watch,
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthV1 {
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunV2 {
    pub start: u64,
    pub boot: [u8; 16],
    pub process: ProcessV1,
    pub shim: Option<ProcessV1>,
    pub since: u64,
    pub stop: Option<StopV1>,
    pub oom: bool,
    pub health: Option<HealthV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseV3 {
    Creating,
    Created,
    Starting(StartingV1),
    Running(RunV2),
    Pausing(RunV2),
    Paused(RunV2),
    Resuming(RunV2),
    Exited(EndV1),
    Restarting(RestartingV1),
    Removing(RemovingV3),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartingV1 {
    pub end: EndV1,
    pub due: u64,
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovingV3 {
    pub run: Option<RunV2>,
    pub failed: Option<String>,
    pub volumes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartsV1 {
    pub count: u32,
    pub streak: u32,
    pub stopped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateV1 {
    pub definition: [u8; 32],
    pub restart: RestartPolicyV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentV1 {
    pub start: u64,
    pub network: String,
    pub addresses: Vec<String>,
}

/// The savepoint row: a container's whole state but its id and version, which the row's envelope has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRowV3 {
    pub card: CardV3,
    pub phase: PhaseV3,
    /// `AsPhase` goes for `Restarting` as for `Exited`.
    pub last: LastV1,
    pub restarts: RestartsV1,
    pub update: Option<UpdateV1>,
    pub networks: Vec<AttachmentV1>,
}
