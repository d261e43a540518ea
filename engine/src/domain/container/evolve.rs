//! Folds in one fact. Never refuses: what happened, happened.

use super::{Container, End, Event, ExitStatus, Phase, Removing, Run, Starting, Stop};
use crate::domain::id::{Signal, StartId, Timestamp};

/// The container after the event; `None` when it is gone. An event that does not fit (which `decide` never makes)
/// leaves all but the version as it was.
pub fn evolve(container: Option<Container>, event: &Event) -> Option<Container> {
    match (container, event) {
        (None, Event::CreateRequested { id, card }) => {
            Some(Container { id: *id, version: 1, card: card.clone(), phase: Phase::Creating, last: None })
        }
        (None, _) => None,
        (Some(_), Event::CreateFailed { .. } | Event::Removed) => None,
        (Some(container), event) => Some(container.evolve(event)),
    }
}

impl Container {
    fn evolve(mut self, event: &Event) -> Self {
        self.version += 1;
        match event {
            Event::Created => self.phase = Phase::Created,
            Event::StartRequested { start, boot, at } => {
                self.phase = Phase::Starting(Starting { start: *start, boot: *boot, since: *at });
            }
            Event::Started { start, process, shim, at } => {
                if let Phase::Starting(starting) = &self.phase {
                    self.phase = Phase::Running(Run {
                        start: *start,
                        boot: starting.boot,
                        process: *process,
                        shim: *shim,
                        since: *at,
                        stop: None,
                        oom: false,
                    });
                }
            }
            Event::StartFailed { start, code, message, at } => {
                let end = End {
                    start: *start,
                    status: ExitStatus::Code(*code),
                    started_at: None,
                    at: *at,
                    oom: false,
                    error: Some(message.clone()),
                };
                self.last = Some(end.clone());
                self.phase = Phase::Exited(end);
            }
            Event::PauseRequested => self.rephase(Phase::Pausing),
            Event::Paused | Event::ResumeFailed { .. } => self.rephase(Phase::Paused),
            Event::ResumeRequested => self.rephase(Phase::Resuming),
            Event::Resumed | Event::PauseFailed { .. } => self.rephase(Phase::Running),
            Event::StopRequested { signal, deadline, then_start, .. } => self.with_run(|run| {
                let killed = *signal == Signal::KILL;
                run.stop = Some(Stop { signal: *signal, deadline: *deadline, killed, then_start: *then_start });
            }),
            Event::Killed { signal, .. } => self.with_run(|run| {
                if let Some(stop) = &mut run.stop {
                    stop.killed |= *signal == Signal::KILL;
                }
            }),
            Event::Exited { start, status, at } => self.exited(*start, *status, *at),
            Event::OomKilled { .. } => self.with_run(|run| run.oom = true),
            Event::Renamed { to, .. } => self.card.name = to.clone(),
            Event::ShimLost { .. } => self.with_run(|run| run.shim = None),
            Event::ShimAdopted { shim, .. } => self.with_run(|run| run.shim = Some(*shim)),
            Event::RemoveRequested { .. } => {
                let run = self.phase.run().cloned();
                self.phase = Phase::Removing(Removing { run, failed: None });
            }
            Event::RemoveFailed { message } => {
                if let Phase::Removing(removing) = &mut self.phase {
                    removing.failed = Some(message.clone());
                }
            }
            // Of another container, or the end of this one: not for this arm.
            Event::CreateRequested { .. } | Event::CreateFailed { .. } | Event::Removed => {}
        }
        self
    }

    fn exited(&mut self, start: StartId, status: ExitStatus, at: Timestamp) {
        let Some(run) = self.phase.run() else { return };
        let end = End { start, status, started_at: Some(run.since), at, oom: run.oom, error: None };
        self.last = Some(end.clone());
        match &mut self.phase {
            Phase::Removing(removing) => removing.run = None,
            phase => *phase = Phase::Exited(end),
        }
    }

    fn rephase(&mut self, to: fn(Run) -> Phase) {
        if let Some(run) = self.phase.run() {
            self.phase = to(run.clone());
        }
    }

    fn with_run(&mut self, change: impl FnOnce(&mut Run)) {
        match &mut self.phase {
            Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => change(run),
            Phase::Removing(removing) => {
                if let Some(run) = &mut removing.run {
                    change(run);
                }
            }
            Phase::Creating | Phase::Created | Phase::Starting(_) | Phase::Exited(_) => {}
        }
    }
}
