//! Commands to a container: requests of users, and reports of the world's state.

use super::{Card, ExitStatus, Health, RestartPolicy};
use crate::id::{BootId, ContainerId, Digest, Name, Process, SessionId, Signal, StartId, Timestamp};

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
    /// A stop that ends in a start; a plain start of a container that does not run.
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
    /// `volumes`: also remove its anonymous volumes.
    Remove {
        force: bool,
        volumes: bool,
    },
    /// `definition` was made from `base` and is already in its place. `live`: the runtime has to update a running
    /// container.
    Update {
        base: Digest,
        definition: Digest,
        restart: RestartPolicy,
        live: bool,
    },
    /// Valid for this start only, since the user and the paths were looked up in its processes. `argv` is already
    /// shortened to its recordable part.
    BeginExec {
        start: StartId,
        exec: SessionId,
        argv: String,
        user: String,
        tty: bool,
        detached: bool,
    },
    /// `starting`: accept a pending start too, because this client asked for it.
    BeginAttach {
        session: SessionId,
        stdin: bool,
        tty: bool,
        starting: bool,
    },

    // Reported by the world: effects, timers, the supervisor, recovery.
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
    ReportUpdated,
    ReportUpdateFailed {
        message: String,
    },
    /// `start` is the one whose end scheduled the restart.
    RestartDue {
        start: StartId,
        boot: BootId,
        at: Timestamp,
    },
    ReportHealth {
        start: StartId,
        health: Health,
    },
    ReportExecExited {
        exec: SessionId,
        status: ExitStatus,
        at: Timestamp,
        lasted_ms: u64,
    },
    ReportDetached {
        session: SessionId,
        lasted_ms: u64,
    },
    ReportNetworkAttached {
        start: StartId,
        network: String,
        addresses: Vec<String>,
    },
    /// From all networks of this start.
    ReportNetworkDetached {
        start: StartId,
    },
    ReportRemoved,
    ReportRemoveFailed {
        message: String,
    },
}
