//! Folds in one fact. Never refuses: what happened, happened.

use super::{Container, End, Event, ExitStatus, Phase, Removing, Run, Starting, Stop};
use crate::domain::id::{Signal, StartId, Timestamp};

/// The container after the event; `None` when it is gone.
///
/// `decide` never makes an event that does not fit, but a damaged journal with events missing may have one. What belongs
/// to another start, or to a phase that is not there, then changes the version alone; an intent, which tells all that is
/// to be known, is taken as it is.
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
            Event::Created => {
                if matches!(self.phase, Phase::Creating) {
                    self.phase = Phase::Created;
                }
            }
            Event::StartRequested { start, boot, at } => {
                self.phase = Phase::Starting(Starting { start: *start, boot: *boot, since: *at });
            }
            Event::Started { start, process, shim, at } => {
                if let Some(boot) = self.starting(*start).map(|starting| starting.boot) {
                    self.phase = Phase::Running(Run {
                        start: *start,
                        boot,
                        process: *process,
                        shim: *shim,
                        since: *at,
                        stop: None,
                        oom: false,
                    });
                }
            }
            Event::StartFailed { start, code, message, at } => {
                if self.starting(*start).is_some() {
                    self.ended(End {
                        start: *start,
                        status: ExitStatus::Code(*code),
                        started_at: None,
                        at: *at,
                        oom: false,
                        error: Some(message.clone()),
                    });
                }
            }
            Event::PauseRequested => self.rephase(Phase::Pausing),
            Event::Paused | Event::ResumeFailed { .. } => self.rephase(Phase::Paused),
            Event::ResumeRequested => self.rephase(Phase::Resuming),
            Event::Resumed | Event::PauseFailed { .. } => self.rephase(Phase::Running),
            Event::StopRequested { start, signal, deadline, then_start } => self.with_run(*start, |run| {
                let killed = *signal == Signal::KILL;
                run.stop = Some(Stop { signal: *signal, deadline: *deadline, killed, then_start: *then_start });
            }),
            Event::Killed { start, signal } => self.with_run(*start, |run| {
                if let Some(stop) = &mut run.stop {
                    stop.killed |= *signal == Signal::KILL;
                }
            }),
            Event::Exited { start, status, at } => self.exited(*start, *status, *at),
            Event::OomKilled { start } => self.with_run(*start, |run| run.oom = true),
            Event::Renamed { to, .. } => self.card.name = to.clone(),
            Event::ShimLost { start } => self.with_run(*start, |run| run.shim = None),
            Event::ShimAdopted { start, shim } => self.with_run(*start, |run| run.shim = Some(*shim)),
            Event::RemoveRequested { volumes, .. } => {
                let run = self.phase.run().cloned();
                // Asked for again after a failure: what the first one was to take goes all the same.
                let before = matches!(&self.phase, Phase::Removing(removing) if removing.volumes);
                self.phase = Phase::Removing(Removing { run, failed: None, volumes: *volumes || before });
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
        if let Some(run) = self.phase.run().filter(|run| run.start == start) {
            self.ended(End { start, status, started_at: Some(run.since), at, oom: run.oom, error: None });
        }
    }

    fn ended(&mut self, end: End) {
        self.last = Some(end.clone());
        match &mut self.phase {
            Phase::Removing(removing) => removing.run = None,
            phase => *phase = Phase::Exited(end),
        }
    }

    fn starting(&self, start: StartId) -> Option<&Starting> {
        match &self.phase {
            Phase::Starting(starting) if starting.start == start => Some(starting),
            _ => None,
        }
    }

    fn rephase(&mut self, to: fn(Run) -> Phase) {
        match &self.phase {
            Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => {
                self.phase = to(run.clone());
            }
            Phase::Creating | Phase::Created | Phase::Starting(_) | Phase::Exited(_) | Phase::Removing(_) => {}
        }
    }

    fn with_run(&mut self, start: StartId, change: impl FnOnce(&mut Run)) {
        let run = match &mut self.phase {
            Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => Some(run),
            Phase::Removing(removing) => removing.run.as_mut(),
            Phase::Creating | Phase::Created | Phase::Starting(_) | Phase::Exited(_) => None,
        };
        if let Some(run) = run.filter(|run| run.start == start) {
            change(run);
        }
    }
}
