//! One container, from its creation to its removal.
//!
//! ```text
//!                   │ Created
//!                   ▼
//!                Created ─────────────┐
//!                   │ StartRequested  │
//!               Starting ◀─────────┐  │
//!        Started │    │StartFailed │  │
//!   Pausing ◀─ Running │           │  │
//!      │         │ ▲   │           │  │
//!      ▼         │ │   ▼           │  │ RemoveRequested (also of a running one, by force)
//!    Paused ─▶ Resuming Exited ────┤  │
//!                       │   │      │  │
//!       RestartScheduled│   │      │  │
//!                       ▼   │      │  │
//!                 Restarting┼──────┘  │
//!                       │   │         ▼
//!                       └───┴─────▶ Removing ──Removed──▶ gone
//! ```
//!
//! Beside the phase there may be a pending update (`UpdateRequested` … `Updated` or `UpdateFailed`), which keeps a
//! start waiting but waits for nothing itself, and the container's network attachments. Exec and attach sessions are
//! not part of the state.
//!
//! After a crash there may be: before `Created`, a directory without a record; in `Starting`, a mount, a shim and a
//! process; in `Running`, `Pausing`, `Paused` and `Resuming`, a live shim and process that go on; in `Exited` and
//! `Restarting`, mounts, networks and a state directory not yet released; in `Removing`, any of the above. `recover`
//! decides on each.

mod aggregate;
mod command;
mod decide;
mod event;
mod evolve;
mod recover;
mod restart;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use decide::{Rejection, decide};
pub use event::Event;
pub use evolve::evolve;
pub use recover::{Observation, RecordedExit, Step, recover};
pub use restart::{RestartPolicy, Restarts};

use super::id::{BootId, ContainerId, Digest, Name, Process, Signal, StartId, Timestamp};

/// A container's state, folded from its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: ContainerId,
    /// How many events the container has seen: the version of its stream.
    pub version: u64,
    pub card: Card,
    pub phase: Phase,
    /// How the last run ended; kept through a later start and a removal.
    pub last: Option<End>,
    pub restarts: Restarts,
    /// A change of limits or of the restart policy that has no outcome yet.
    pub update: Option<Update>,
    /// Network attachments, as far as recorded.
    pub networks: Vec<Attachment>,
}

/// The part of a definition that lists and the state machine need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub name: Name,
    pub image: String,
    /// The image it was created from; `None` for a root filesystem of the host's.
    pub image_id: Option<Digest>,
    pub runtime: String,
    /// Path and arguments, cut at `Card::COMMAND_LIMIT` bytes.
    pub command: String,
    /// The digest of `definition.json`.
    pub definition: Digest,
    pub created_at: Timestamp,
    pub auto_remove: bool,
    pub tty: bool,
    pub open_stdin: bool,
    pub stop_signal: Signal,
    /// In seconds.
    pub stop_timeout: u32,
    pub restart: RestartPolicy,
    pub health: HealthAction,
}

impl Card {
    // Limits in bytes, so that an event stays far below the journal's 4 KB.
    pub const COMMAND_LIMIT: usize = 512;
    /// Names are not cut but refused, already when the card is made. Registries allow about 450 with tag and digest.
    pub const IMAGE_LIMIT: usize = 512;
    /// As for the image: refused, not cut.
    pub const RUNTIME_LIMIT: usize = 128;
}

/// Whether a container's health is checked, and the consequence of an unhealthy one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HealthAction {
    #[default]
    Unwatched,
    Watch,
    /// An unhealthy container is killed.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not known yet.
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Created,
    Starting(Starting),
    Running(Run),
    Pausing(Run),
    Paused(Run),
    Resuming(Run),
    Exited(End),
    Restarting(Restarting),
    Removing(Removing),
}

/// Exited, with a start by its policy pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarting {
    pub end: End,
    pub due: Timestamp,
    /// The first restart since a user's start is 1.
    pub attempt: u32,
}

/// A pending change of the definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// The digest of the definition that replaces the present one.
    pub definition: Digest,
    pub restart: RestartPolicy,
}

/// A network that a container is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub start: StartId,
    pub network: String,
    pub addresses: Vec<String>,
}

impl Attachment {
    // Limits keep a state with all attachments below the journal's 4 KB. Anything beyond them is not recorded.
    /// Networks of one container.
    pub const LIMIT: usize = 3;
    /// Bytes of a network's name.
    pub const NAME_LIMIT: usize = 64;
    /// Addresses in one network.
    pub const ADDRESS_COUNT: usize = 2;
    /// Bytes of an address with its prefix.
    pub const ADDRESS_LIMIT: usize = 44;
}

/// A start that has no outcome yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starting {
    pub start: StartId,
    pub boot: BootId,
    pub since: Timestamp,
}

/// A container's first process and its shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub start: StartId,
    pub boot: BootId,
    pub process: Process,
    /// `None` while no shim holds the container.
    pub shim: Option<Process>,
    pub since: Timestamp,
    pub stop: Option<Stop>,
    pub oom: bool,
    /// `None` where health is not checked.
    pub health: Option<Health>,
}

/// A pending stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub signal: Signal,
    /// When the patience ends and SIGKILL is sent.
    pub deadline: Timestamp,
    /// SIGKILL was sent.
    pub killed: bool,
    pub then_start: bool,
}

/// How a run, or the attempt at one, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub start: StartId,
    pub status: ExitStatus,
    /// `None` when the start failed before anything ran.
    pub started_at: Option<Timestamp>,
    pub at: Timestamp,
    pub oom: bool,
    /// The start's error text.
    pub error: Option<String>,
}

/// An exit status is never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u8),
    Signal(Signal),
    Unknown(Cause),
}

impl ExitStatus {
    /// As a shell gives it, with 128 and the signal's number for a process that was killed; `None` when it is unknown.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code.into()),
            Self::Signal(signal) => Some(128 + signal.0),
            Self::Unknown(_) => None,
        }
    }
}

/// Why an exit status cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    HostReboot,
    /// Neither shim, process nor exit record was found.
    ShimAndProcessLost,
    /// The shim died before the container, on a kernel that reports an exit status to the parent alone.
    ShimLost,
}

/// A pending removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removing {
    /// The run that still has to be killed: a removal by force.
    pub run: Option<Run>,
    /// Why the last attempt failed; the removal may then be requested again.
    pub failed: Option<String>,
    /// Its anonymous volumes are removed too.
    pub volumes: bool,
}

impl Container {
    /// The newest recorded start; number 0 before the first.
    pub fn last_start(&self) -> StartId {
        let starting = if let Phase::Starting(starting) = &self.phase { Some(starting.start) } else { None };
        let present = starting.or_else(|| self.phase.run().map(|run| run.start));
        let ended = self.last.as_ref().map(|end| end.start);
        StartId(present.max(ended).map_or(0, |start| start.0))
    }
}

impl Phase {
    /// The run of a container with a first process that is believed to be alive.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Pausing(run) | Self::Paused(run) | Self::Resuming(run) => Some(run),
            Self::Removing(removing) => removing.run.as_ref(),
            Self::Created | Self::Starting(_) | Self::Exited(_) | Self::Restarting(_) => None,
        }
    }

    /// No start has left anything behind.
    pub fn never_started(&self) -> bool {
        match self {
            Self::Created => true,
            Self::Starting(_) | Self::Running(_) | Self::Pausing(_) | Self::Paused(_) | Self::Resuming(_) => false,
            Self::Exited(_) | Self::Restarting(_) | Self::Removing(_) => false,
        }
    }

    /// An intent is pending, so most commands have to wait for its outcome.
    pub fn in_transition(&self) -> bool {
        match self {
            Self::Starting(_) | Self::Pausing(_) | Self::Resuming(_) => true,
            Self::Removing(removing) => removing.failed.is_none(),
            Self::Created | Self::Running(_) | Self::Paused(_) | Self::Exited(_) | Self::Restarting(_) => false,
        }
    }

    /// The state's name in `inspect` and filters.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "inited",
            Self::Starting(_) => "starting",
            Self::Running(run) if run.stop.as_ref().is_some_and(|stop| stop.then_start) => "restarting",
            Self::Running(_) | Self::Pausing(_) | Self::Resuming(_) => "running",
            Self::Paused(_) => "paused",
            Self::Exited(_) => "exited",
            Self::Restarting(_) => "restarting",
            Self::Removing(_) => "removing",
        }
    }
}
