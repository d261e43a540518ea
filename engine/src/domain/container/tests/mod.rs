//! Tests in the form: given some events, when a command comes, then these events follow.

mod decide;
mod evolve;
mod model;
mod properties;
pub(crate) mod random;
mod recover;

use super::*;

pub(crate) const ID: ContainerId = ContainerId::from_bytes([7; 32]);
pub(crate) const BOOT: BootId = BootId([1; 16]);
pub(crate) const NEXT_BOOT: BootId = BootId([2; 16]);
pub(crate) const PROCESS: Process = Process { pid: 100, start_time: 1000 };
pub(crate) const SHIM: Process = Process { pid: 99, start_time: 999 };
pub(crate) const OTHER_SHIM: Process = Process { pid: 120, start_time: 1200 };
/// The start of every phase below: its `StartRequested` is the third event, after a `Renamed`.
pub(crate) const START: StartId = StartId(3);
pub(crate) const STALE: StartId = StartId(2);
pub(crate) const CODE: ExitStatus = ExitStatus::Code(7);

/// In seconds.
pub(crate) const fn at(seconds: u64) -> Timestamp {
    Timestamp(0).plus_seconds(seconds)
}

pub(crate) fn card() -> Card {
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
pub(crate) fn auto_remove_card() -> Card {
    Card { auto_remove: true, ..card() }
}

pub(crate) fn run() -> Run {
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

pub(crate) fn stopping() -> Run {
    Run { stop: Some(Stop { signal: Signal::TERM, deadline: at(20), killed: false, then_start: false }), ..run() }
}

pub(crate) fn restarting() -> Run {
    Run { stop: Some(Stop { signal: Signal::TERM, deadline: at(20), killed: false, then_start: true }), ..run() }
}

pub(crate) fn end() -> End {
    End { start: START, status: CODE, started_at: Some(at(4)), at: at(9), oom: false, error: None }
}

pub(crate) fn starting() -> Starting {
    Starting { start: START, boot: BOOT, since: at(3) }
}

pub(crate) fn waiting() -> Restarting {
    Restarting { end: end(), due: at(12), attempt: 1 }
}

fn removing(run: Option<Run>, failed: Option<&str>) -> Phase {
    Phase::Removing(Removing { run, failed: failed.map(str::to_owned), volumes: false })
}

/// A container of version 8 in this phase.
pub(crate) fn container(phase: Phase) -> Container {
    let last = match &phase {
        Phase::Exited(end) | Phase::Restarting(Restarting { end, .. }) => Some(end.clone()),
        _ => None,
    };
    let stop = phase.run().and_then(|run| run.stop.as_ref());
    let restarts = Restarts { stopped: stop.is_some_and(|stop| !stop.then_start), ..Restarts::default() };
    Container { id: ID, version: 8, card: card(), phase, last, restarts, update: None, networks: vec![] }
}

/// Every phase that makes a difference, by its name in the tables; `none` is no container.
fn phases() -> Vec<(&'static str, Option<Phase>)> {
    vec![
        ("none", None),
        ("created", Some(Phase::Created)),
        ("starting", Some(Phase::Starting(starting()))),
        ("running", Some(Phase::Running(run()))),
        ("stopping", Some(Phase::Running(stopping()))),
        ("pausing", Some(Phase::Pausing(run()))),
        ("paused", Some(Phase::Paused(run()))),
        ("resuming", Some(Phase::Resuming(run()))),
        ("exited", Some(Phase::Exited(end()))),
        ("removing", Some(removing(None, None))),
        ("killing", Some(removing(Some(run()), None))),
        ("failed", Some(removing(None, Some("busy")))),
        ("waiting", Some(Phase::Restarting(waiting()))),
    ]
}

/// The rows of a table in text: a label and one cell for every phase.
fn rows(table: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut lines = table.lines().filter(|line| !line.trim().is_empty());
    let columns: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(columns, phases().iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut rows = Vec::new();
    for line in lines {
        let mut cells = line.split_whitespace();
        let label = cells.next().unwrap();
        let cells: Vec<_> = cells.collect();
        assert_eq!(cells.len(), columns.len(), "{label}");
        rows.push((label, cells));
    }
    rows
}

pub(crate) fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Container> {
    events.into_iter().fold(None, evolve)
}

struct Given(Option<Container>);
struct When(Option<Container>, Result<Vec<Event>, Rejection>);

fn given(phase: Phase) -> Given {
    Given(Some(container(phase)))
}

fn given_events(events: impl IntoIterator<Item = Event>) -> Given {
    Given(replay(&events.into_iter().collect::<Vec<_>>()))
}

impl Given {
    fn with(mut self, change: impl FnOnce(&mut Container)) -> Self {
        change(self.0.as_mut().expect("there is a container"));
        self
    }

    fn when(self, command: Command) -> When {
        let decision = super::decide(self.0.as_ref(), &command);
        When(self.0, decision)
    }

    fn becomes(self, event: Event) -> Option<Container> {
        evolve(self.0, &event)
    }
}

impl When {
    #[track_caller]
    fn then(self, events: impl IntoIterator<Item = Event>) -> Given {
        let events: Vec<_> = events.into_iter().collect();
        assert_eq!(self.1.as_ref(), Ok(&events));
        Given(events.iter().fold(self.0, evolve))
    }

    /// And the state has not changed.
    #[track_caller]
    fn rejected_yet(self, rejection: Rejection) -> Given {
        assert_eq!(self.1, Err(rejection));
        Given(self.0)
    }

    #[track_caller]
    fn rejected(self, rejection: Rejection) {
        assert_eq!(self.1, Err(rejection));
    }
}
