//! What may be asked of a container, and what the world reports of it.

use super::{Card, ExitStatus};
use crate::domain::id::{BootId, ContainerId, Name, Process, Signal, StartId, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    // Asked by users.
    Create {
        id: ContainerId,
        card: Card,
    },
    Start {
        boot: BootId,
        at: Timestamp,
    },
    /// `signal` and `grace` default to the container's own; a grace of 0 is SIGKILL at once.
    Stop {
        signal: Option<Signal>,
        grace: Option<u32>,
        at: Timestamp,
    },
    /// A stop that ends in a start; a plain start of what does not run.
    Restart {
        grace: Option<u32>,
        boot: BootId,
        at: Timestamp,
    },
    Kill {
        signal: Signal,
    },
    Pause,
    Resume,
    Rename {
        name: Name,
    },
    /// `volumes`: its anonymous volumes too.
    Remove {
        force: bool,
        volumes: bool,
    },

    // Reported by the world: effects, timers, the supervisor, recovery.
    ReportCreated,
    ReportCreateFailed {
        message: String,
    },
    ReportStarted {
        start: StartId,
        process: Process,
        shim: Option<Process>,
        at: Timestamp,
    },
    ReportStartFailed {
        start: StartId,
        code: u8,
        message: String,
        at: Timestamp,
    },
    ReportPaused,
    ReportPauseFailed {
        message: String,
    },
    ReportResumed,
    ReportResumeFailed {
        message: String,
    },
    StopDeadlinePassed {
        start: StartId,
    },
    /// `boot` is for the start that may follow.
    ReportExit {
        start: StartId,
        status: ExitStatus,
        at: Timestamp,
        oom: bool,
        boot: BootId,
    },
    ReportOom {
        start: StartId,
    },
    ReportShimLost {
        start: StartId,
    },
    ReportShimAdopted {
        start: StartId,
        shim: Process,
    },
    ReportRemoved,
    ReportRemoveFailed {
        message: String,
    },
}
