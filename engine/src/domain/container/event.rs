//! What has happened to a container: facts, in the past tense, never edited.

use super::{Card, ExitStatus};
use crate::domain::id::{BootId, ContainerId, Name, Process, Signal, StartId, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    CreateRequested { id: ContainerId, card: Card },
    Created,
    CreateFailed { message: String },
    StartRequested { start: StartId, boot: BootId, at: Timestamp },
    Started { start: StartId, process: Process, shim: Option<Process>, at: Timestamp },
    StartFailed { start: StartId, code: u8, message: String, at: Timestamp },
    PauseRequested,
    Paused,
    PauseFailed { message: String },
    ResumeRequested,
    Resumed,
    ResumeFailed { message: String },
    StopRequested { start: StartId, signal: Signal, deadline: Timestamp, then_start: bool },
    Killed { start: StartId, signal: Signal },
    Exited { start: StartId, status: ExitStatus, at: Timestamp },
    OomKilled { start: StartId },
    Renamed { from: Name, to: Name },
    ShimLost { start: StartId },
    ShimAdopted { start: StartId, shim: Process },
    RemoveRequested { force: bool, volumes: bool },
    RemoveFailed { message: String },
    Removed,
}

impl Event {
    /// Bytes kept of an error message, so that an event, and a state with two of them, stay below the journal's 4 KB.
    pub const MESSAGE_LIMIT: usize = 1024;

    /// The event's own name, as journals and `isula events --format json` show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateRequested { .. } => "CreateRequested",
            Self::Created => "Created",
            Self::CreateFailed { .. } => "CreateFailed",
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
            Self::RemoveRequested { .. } => "RemoveRequested",
            Self::RemoveFailed { .. } => "RemoveFailed",
            Self::Removed => "Removed",
        }
    }
}
