//! Commands that begin, end, pause or resume a run.

use super::{Decision, Rejection, only_if};
use crate::container::{Container, Event, Phase};
use crate::id::{BootId, Signal, StartId, Timestamp};

impl Container {
    pub(super) fn start(&self, boot: BootId, at: Timestamp) -> Decision {
        match &self.phase {
            // The pending update decides which definition is started.
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) if self.update.is_some() => {
                Err(Rejection::InTransition)
            }
            Phase::Created | Phase::Exited(_) => Ok(vec![self.request_start(0, boot, at)]),
            Phase::Restarting(waiting) => {
                Ok(vec![Event::RestartCancelled { start: waiting.end.start }, self.request_start(1, boot, at)])
            }
            Phase::Running(run) if run.stop.is_none() => Ok(vec![]),
            // A stop is pending, so the start is decided after its outcome.
            Phase::Running(_) => Err(Rejection::InTransition),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    /// `after`: the number of events before it in the same decision.
    pub(super) fn request_start(&self, after: usize, boot: BootId, at: Timestamp) -> Event {
        let version = self.version + after as u64 + 1;
        // A rebuilt history is shorter than the lost one, and files of its starts may be left.
        Event::StartRequested { start: StartId(version.max(self.last_start().0 + 1)), boot, at }
    }

    pub(super) fn stop(&self, signal: Option<Signal>, grace: Option<u32>, at: Timestamp, then_start: bool) -> Decision {
        match &self.phase {
            Phase::Running(run) => {
                let grace = grace.unwrap_or(self.card.stop_timeout);
                let signal = if grace == 0 { Signal::KILL } else { signal.unwrap_or(self.card.stop_signal) };
                let deadline = at.plus_seconds(grace.into());
                let joins = run
                    .stop
                    .as_ref()
                    .is_some_and(|stop| stop.then_start == then_start && (stop.killed || stop.deadline <= deadline));
                Ok(only_if(!joins, || Event::StopRequested { start: run.start, signal, deadline, then_start }))
            }
            Phase::Created | Phase::Exited(_) => Ok(vec![]),
            Phase::Restarting(waiting) => Ok(vec![Event::RestartCancelled { start: waiting.end.start }]),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    pub(super) fn restart(&self, grace: Option<u32>, boot: BootId, at: Timestamp) -> Decision {
        match &self.phase {
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => self.start(boot, at),
            Phase::Running(_)
            | Phase::Paused(_)
            | Phase::Starting(_)
            | Phase::Pausing(_)
            | Phase::Resuming(_)
            | Phase::Removing(_) => self.stop(None, grace, at, true),
        }
    }

    pub(super) fn kill(&self, signal: Signal) -> Decision {
        match &self.phase {
            Phase::Running(run) => Ok(vec![Event::Killed { start: run.start, signal }]),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    pub(super) fn pause(&self) -> Decision {
        match &self.phase {
            Phase::Running(run) if run.stop.is_some() => Err(Rejection::InTransition),
            Phase::Running(_) => Ok(vec![Event::PauseRequested]),
            Phase::Paused(_) => Ok(vec![]),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    pub(super) fn resume(&self) -> Decision {
        match &self.phase {
            Phase::Paused(_) => Ok(vec![Event::ResumeRequested]),
            Phase::Running(_) => Ok(vec![]),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    pub(super) fn stop_deadline_passed(&self, start: StartId) -> Vec<Event> {
        let due = self.running(start).is_some_and(|run| run.stop.as_ref().is_some_and(|stop| !stop.killed));
        only_if(due, || Event::Killed { start, signal: Signal::KILL })
    }
}
