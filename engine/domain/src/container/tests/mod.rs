//! Tests in the form: given some events, when a command comes, then these events follow.

#![allow(clippy::wildcard_enum_match_arm, reason = "a new variant is counted by the tables")]

mod decide;
mod evolve;
mod model;
mod properties;
mod recover;

use super::testing::*;
use super::*;

fn removing(run: Option<Run>, failed: Option<&str>) -> Phase {
    Phase::Removing(Removing { run, failed: failed.map(str::to_owned), volumes: false })
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
