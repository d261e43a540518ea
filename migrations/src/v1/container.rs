//! The stored shapes of a container's savepoint row and of the types in its events. Times are nanoseconds since the
//! Unix epoch, start times of processes are clock ticks since boot.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardV1 {
    pub name: String,
    pub image: String,
    /// The digest of the image's config; none for a root filesystem of the host.
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
    /// 0 means no limit.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessV1 {
    pub pid: u32,
    pub start_time: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatusV1 {
    Code(u8),
    Signal(i32),
    Unknown(CauseV1),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CauseV1 {
    HostReboot,
    ShimAndProcessLost,
    ShimLost,
}

/// The savepoint row: a container's whole state except its id and version, which are in the row's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRowV1 {
    pub card: CardV1,
    pub phase: PhaseV1,
    pub last: LastV1,
    pub restarts: RestartsV1,
    pub update: Option<UpdateV1>,
    pub networks: Vec<AttachmentV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseV1 {
    Created,
    Starting(StartingV1),
    Running(RunV1),
    Pausing(RunV1),
    Paused(RunV1),
    Resuming(RunV1),
    Exited(EndV1),
    Restarting(RestartingV1),
    Removing(RemovingV1),
}

/// The end of the last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastV1 {
    /// There was no run.
    Never,
    /// The end in the phase, which is `Exited` or `Restarting`: the usual case, in which a long error text is stored
    /// only once.
    AsPhase,
    Ended(EndV1),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartingV1 {
    pub start: u64,
    pub boot: [u8; 16],
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunV1 {
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
pub struct StopV1 {
    pub signal: i32,
    pub deadline: u64,
    pub killed: bool,
    pub then_start: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndV1 {
    pub start: u64,
    pub status: ExitStatusV1,
    pub started_at: Option<u64>,
    pub at: u64,
    pub oom: bool,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartingV1 {
    pub end: EndV1,
    pub due: u64,
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovingV1 {
    pub run: Option<RunV1>,
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
