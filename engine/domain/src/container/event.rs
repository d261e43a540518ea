//! Events of a container: facts in the past tense, never edited.

use super::{Card, ExitStatus, Health, RestartPolicy};
use crate::id::{BootId, ContainerId, Digest, Name, Process, SessionId, Signal, StartId, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Created {
        id: ContainerId,
        card: Card,
    },
    StartRequested {
        start: StartId,
        boot: BootId,
        at: Timestamp,
    },
    Started {
        start: StartId,
        process: Process,
        shim: Option<Process>,
        at: Timestamp,
    },
    StartFailed {
        start: StartId,
        code: u8,
        message: String,
        at: Timestamp,
    },
    PauseRequested,
    Paused,
    PauseFailed {
        message: String,
    },
    ResumeRequested,
    Resumed,
    ResumeFailed {
        message: String,
    },
    StopRequested {
        start: StartId,
        signal: Signal,
        deadline: Timestamp,
        then_start: bool,
    },
    Killed {
        start: StartId,
        signal: Signal,
    },
    Exited {
        start: StartId,
        status: ExitStatus,
        at: Timestamp,
    },
    OomKilled {
        start: StartId,
    },
    Renamed {
        from: Name,
        to: Name,
    },
    ShimLost {
        start: StartId,
    },
    ShimAdopted {
        start: StartId,
        shim: Process,
    },
    UpdateRequested {
        definition: Digest,
        restart: RestartPolicy,
    },
    Updated,
    UpdateFailed {
        message: String,
    },
    /// After the end of this start.
    RestartScheduled {
        start: StartId,
        attempt: u32,
        due: Timestamp,
    },
    /// A user ended the wait, or the policy no longer wants the start.
    RestartCancelled {
        start: StartId,
    },
    HealthChanged {
        start: StartId,
        health: Health,
    },
    /// The intent: recorded before anything runs. `argv` and `user` are cut.
    ExecStarted {
        start: StartId,
        exec: SessionId,
        argv: String,
        user: String,
        tty: bool,
        detached: bool,
    },
    /// Recorded again if the daemon ended between this event and the removal of the session's directory.
    ExecExited {
        exec: SessionId,
        status: ExitStatus,
        at: Timestamp,
        lasted_ms: u64,
    },
    Attached {
        session: SessionId,
        stdin: bool,
        tty: bool,
    },
    Detached {
        session: SessionId,
        lasted_ms: u64,
    },
    NetworkAttached {
        start: StartId,
        network: String,
        addresses: Vec<String>,
    },
    NetworkDetached {
        start: StartId,
    },
    RemoveRequested {
        force: bool,
        volumes: bool,
    },
    RemoveFailed {
        message: String,
    },
    Removed,
}

impl Event {
    /// Bytes kept of an error message, so that an event, and a state with two of them, stay below the journal's 4 KB.
    pub const MESSAGE_LIMIT: usize = 768;
    /// Bytes kept of an exec's command line.
    pub const ARGV_LIMIT: usize = 256;
    /// Bytes kept of the user that an exec runs as.
    pub const USER_LIMIT: usize = 64;

    /// The event's own name, as journals and `isula events --format json` show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "Created",
            Self::StartRequested { .. } => "StartRequested",
            Self::Started { .. } => "Started",
            Self::StartFailed { .. } => "StartFailed",
            Self::PauseRequested => "PauseRequested",
            Self::Paused => "Paused",
            Self::PauseFailed { .. } => "PauseFailed",
            Self::ResumeRequested => "ResumeRequested",
            Self::Resumed => "Resumed",
            Self::ResumeFailed { .. } => "ResumeFailed",
            Self::StopRequested { .. } => "StopRequested",
            Self::Killed { .. } => "Killed",
            Self::Exited { .. } => "Exited",
            Self::OomKilled { .. } => "OomKilled",
            Self::Renamed { .. } => "Renamed",
            Self::ShimLost { .. } => "ShimLost",
            Self::ShimAdopted { .. } => "ShimAdopted",
            Self::UpdateRequested { .. } => "UpdateRequested",
            Self::Updated => "Updated",
            Self::UpdateFailed { .. } => "UpdateFailed",
            Self::RestartScheduled { .. } => "RestartScheduled",
            Self::RestartCancelled { .. } => "RestartCancelled",
            Self::HealthChanged { .. } => "HealthChanged",
            Self::ExecStarted { .. } => "ExecStarted",
            Self::ExecExited { .. } => "ExecExited",
            Self::Attached { .. } => "Attached",
            Self::Detached { .. } => "Detached",
            Self::NetworkAttached { .. } => "NetworkAttached",
            Self::NetworkDetached { .. } => "NetworkDetached",
            Self::RemoveRequested { .. } => "RemoveRequested",
            Self::RemoveFailed { .. } => "RemoveFailed",
            Self::Removed => "Removed",
        }
    }
}
