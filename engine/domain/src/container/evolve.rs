//! Applies one event to a container. Never refuses, since events are facts.

use super::{
    Attachment, Card, Container, End, Event, ExitStatus, Health, HealthAction, Phase, Removing, Restarting, Restarts,
    Run, Starting, Stop, Update,
};
use crate::id::{BootId, ContainerId, Signal, StartId, Timestamp};

/// The container after the event; `None` when it is gone.
///
/// `decide` never makes an event that does not fit, but a damaged journal with missing events may contain one. An event
/// of another start, or of an absent phase, then changes the version alone; an intent is complete in itself and is
/// applied as it is.
pub fn evolve(container: Option<Container>, event: &Event) -> Option<Container> {
    match (container, event) {
        (None, Event::Created { id, card }) => Some(Container::new(*id, card.clone())),
        (None, _) => None,
        (Some(_), Event::Removed) => None,
        (Some(container), event) => Some(container.evolve(event)),
    }
}

impl Container {
    /// The container after its `Created` event.
    pub fn new(id: ContainerId, card: Card) -> Self {
        Self {
            id,
            version: 1,
            card,
            phase: Phase::Created,
            last: None,
            restarts: Restarts::default(),
            update: None,
            networks: vec![],
        }
    }

    fn evolve(mut self, event: &Event) -> Self {
        self.version += 1;
        match event {
            Event::StartRequested { start, boot, at } => self.start_requested(*start, *boot, *at),
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
                        health: (self.card.health != HealthAction::Unwatched).then_some(Health::Starting),
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
            Event::StopRequested { start, signal, deadline, then_start } => {
                let killed = *signal == Signal::KILL;
                let stop = Stop { signal: *signal, deadline: *deadline, killed, then_start: *then_start };
                if self.with_run(*start, |run| run.stop = Some(stop)) {
                    self.restarts.stopped = !then_start;
                }
            }
            Event::Killed { start, signal } => self.killed(*start, *signal),
            Event::Exited { start, status, at } => self.exited(*start, *status, *at),
            Event::OomKilled { start } => drop(self.with_run(*start, |run| run.oom = true)),
            Event::Renamed { to, .. } => self.card.name = to.clone(),
            Event::ShimLost { start } => drop(self.with_run(*start, |run| run.shim = None)),
            Event::ShimAdopted { start, shim } => drop(self.with_run(*start, |run| run.shim = Some(*shim))),
            Event::HealthChanged { start, health } => drop(self.with_run(*start, |run| run.health = Some(*health))),
            Event::UpdateRequested { definition, restart } => {
                self.update = Some(Update { definition: *definition, restart: *restart });
            }
            Event::Updated => {
                if let Some(update) = self.update.take() {
                    (self.card.definition, self.card.restart) = (update.definition, update.restart);
                }
            }
            Event::UpdateFailed { .. } => self.update = None,
            Event::RestartScheduled { start, attempt, due } => {
                if let Phase::Exited(end) = &self.phase
                    && end.start == *start
                {
                    self.restarts.streak = self.restarts.streak_after(end);
                    self.phase = Phase::Restarting(Restarting { end: end.clone(), due: *due, attempt: *attempt });
                }
            }
            Event::RestartCancelled { start } => {
                if let Phase::Restarting(waiting) = &self.phase
                    && waiting.end.start == *start
                {
                    self.phase = Phase::Exited(waiting.end.clone());
                    self.restarts.stopped = true;
                }
            }
            Event::NetworkAttached { start, network, addresses } => {
                if self.networks.len() < Attachment::LIMIT {
                    self.networks.push(Attachment::cut(*start, network, addresses));
                }
            }
            Event::NetworkDetached { start } => self.networks.retain(|attachment| attachment.start != *start),
            // Sessions are recorded in the journal, not in the state.
            Event::ExecStarted { .. } | Event::ExecExited { .. } | Event::Attached { .. } | Event::Detached { .. } => {}
            Event::RemoveRequested { volumes, .. } => {
                let run = self.phase.run().cloned();
                // A retry after a failed removal: anonymous volumes that the first request included are still removed.
                let before = matches!(&self.phase, Phase::Removing(removing) if removing.volumes);
                self.phase = Phase::Removing(Removing { run, failed: None, volumes: *volumes || before });
            }
            Event::RemoveFailed { message } => {
                if let Phase::Removing(removing) = &mut self.phase {
                    removing.failed = Some(message.clone());
                }
            }
            // A second `Created` belongs to another container; the caller handles `Removed`.
            Event::Created { .. } | Event::Removed => {}
        }
        self
    }

    fn start_requested(&mut self, start: StartId, boot: BootId, since: Timestamp) {
        self.restarts = match &self.phase {
            Phase::Restarting(waiting) => Restarts { count: waiting.attempt, ..self.restarts },
            // A start by a user resets the counters of the restart policy.
            Phase::Created
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Pausing(_)
            | Phase::Paused(_)
            | Phase::Resuming(_)
            | Phase::Exited(_)
            | Phase::Removing(_) => Restarts::default(),
        };
        self.phase = Phase::Starting(Starting { start, boot, since });
    }

    fn killed(&mut self, start: StartId, signal: Signal) {
        let mut by_hand = false;
        self.with_run(start, |run| match &mut run.stop {
            Some(stop) => stop.killed |= signal == Signal::KILL,
            None => by_hand = true,
        });
        // A user who kills the container does not want the policy to start it again.
        if by_hand && (signal == Signal::KILL || signal == self.card.stop_signal) {
            self.restarts.stopped = true;
        }
    }

    fn exited(&mut self, start: StartId, status: ExitStatus, at: Timestamp) {
        if let Some(run) = self.phase.run().filter(|run| run.start == start) {
            self.ended(End { start, status, started_at: Some(run.since), at, oom: run.oom, error: None });
        }
    }

    fn ended(&mut self, end: End) {
        self.last = Some(end.clone());
        if let Phase::Removing(removing) = &mut self.phase {
            removing.run = None;
        } else {
            self.phase = Phase::Exited(end);
        }
    }

    fn starting(&self, start: StartId) -> Option<&Starting> {
        if let Phase::Starting(starting) = &self.phase
            && starting.start == start
        {
            return Some(starting);
        }
        None
    }

    fn rephase(&mut self, to: fn(Run) -> Phase) {
        match &self.phase {
            Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => {
                self.phase = to(run.clone());
            }
            Phase::Created | Phase::Starting(_) | Phase::Exited(_) | Phase::Restarting(_) | Phase::Removing(_) => {}
        }
    }

    /// Applies `change` to the run of this start; false when there is none.
    fn with_run(&mut self, start: StartId, change: impl FnOnce(&mut Run)) -> bool {
        let run = match &mut self.phase {
            Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => Some(run),
            Phase::Removing(removing) => removing.run.as_mut(),
            Phase::Created | Phase::Starting(_) | Phase::Exited(_) | Phase::Restarting(_) => None,
        };
        run.filter(|run| run.start == start).map(change).is_some()
    }
}
