//! Samples of containers and random histories of them, for tests of this crate and of its users.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "only tests use it")]

pub mod random;

use super::*;

pub const ID: ContainerId = ContainerId::from_bytes([7; 32]);
pub const BOOT: BootId = BootId([1; 16]);
pub const NEXT_BOOT: BootId = BootId([2; 16]);
pub const PROCESS: Process = Process { pid: 100, start_time: 1000 };
pub const SHIM: Process = Process { pid: 99, start_time: 999 };
pub const OTHER_SHIM: Process = Process { pid: 120, start_time: 1200 };
/// The start of every phase below: its `StartRequested` is the third event, after a `Renamed`.
pub const START: StartId = StartId(3);
pub const STALE: StartId = StartId(2);
pub const CODE: ExitStatus = ExitStatus::Code(7);

/// In seconds.
pub const fn at(seconds: u64) -> Timestamp {
    Timestamp(0).plus_seconds(seconds)
}

pub fn card() -> Card {
    Card {
        name: "web".parse().unwrap(),
        image: "nginx".to_owned(),
        image_id: None,
        runtime: "runc".to_owned(),
        command: "nginx".to_owned(),
        definition: Digest([3; 32]),
        created_at: at(1),
        auto_remove: false,
        tty: false,
        open_stdin: false,
        stop_signal: Signal::TERM,
        stop_timeout: 10,
        restart: RestartPolicy::No,
        health: HealthAction::Unwatched,
    }
}

/// With `--rm`.
pub fn auto_remove_card() -> Card {
    Card { auto_remove: true, ..card() }
}

pub fn run() -> Run {
    Run {
        start: START,
        boot: BOOT,
        process: PROCESS,
        shim: Some(SHIM),
        since: at(4),
        stop: None,
        oom: false,
        health: None,
    }
}

pub fn stopping() -> Run {
    Run { stop: Some(Stop { signal: Signal::TERM, deadline: at(20), killed: false, then_start: false }), ..run() }
}

pub fn restarting() -> Run {
    Run { stop: Some(Stop { signal: Signal::TERM, deadline: at(20), killed: false, then_start: true }), ..run() }
}

pub fn end() -> End {
    End { start: START, status: CODE, started_at: Some(at(4)), at: at(9), oom: false, error: None }
}

pub fn starting() -> Starting {
    Starting { start: START, boot: BOOT, since: at(3) }
}

pub fn waiting() -> Restarting {
    Restarting { end: end(), due: at(12), attempt: 1 }
}

/// A container of version 8 in this phase.
pub fn container(phase: Phase) -> Container {
    let last = match &phase {
        Phase::Exited(end) | Phase::Restarting(Restarting { end, .. }) => Some(end.clone()),
        _ => None,
    };
    let stop = phase.run().and_then(|run| run.stop.as_ref());
    let restarts = Restarts { stopped: stop.is_some_and(|stop| !stop.then_start), ..Restarts::default() };
    Container { id: ID, version: 8, card: card(), phase, last, restarts, update: None, networks: vec![] }
}

pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Container> {
    events.into_iter().fold(None, evolve)
}
