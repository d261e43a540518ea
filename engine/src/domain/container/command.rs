//! What may be asked of a container, and what the world reports of it.

use super::{Card, ExitStatus, Health, RestartPolicy};
use crate::domain::id::{BootId, ContainerId, Digest, Name, Process, SessionId, Signal, StartId, Timestamp};

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
    /// `definition` was made of `base` and lies in its place already. `live`: a running container has to be told.
    Update {
        base: Digest,
        definition: Digest,
        restart: RestartPolicy,
        live: bool,
    },
    /// In the processes of this start and no other: what was prepared was looked up there. `argv` is what may be known of it.
    BeginExec {
        start: StartId,
        exec: SessionId,
        argv: String,
        user: String,
        tty: bool,
        detached: bool,
    },
    /// `starting`: also to a start that is under way, since it was asked for by this client.
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
    /// Of the end of this start.
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
