//! Consequences of the end of a run, or of a failed start: another start, a removal, or none.

use super::short;
use crate::container::{Container, End, Event, ExitStatus, Phase, Run};
use crate::id::{BootId, StartId, Timestamp};

impl Container {
    /// The event that follows an exit, if any.
    pub(super) fn follow_up(
        &self,
        run: &Run,
        status: ExitStatus,
        after: usize,
        boot: BootId,
        at: Timestamp,
    ) -> Option<Event> {
        if matches!(self.phase, Phase::Removing(_)) {
            None
        } else if run.stop.as_ref().is_some_and(|stop| stop.then_start) {
            Some(self.request_start(after, boot, at))
        } else if self.card.auto_remove {
            Some(self.auto_removal())
        } else if self.restarts.stopped {
            None
        } else {
            let started_at = Some(run.since);
            self.scheduled(&End { start: run.start, status, started_at, at, oom: run.oom, error: None })
        }
    }

    pub(super) fn start_failed(&self, start: StartId, code: u8, message: &str, at: Timestamp) -> Vec<Event> {
        if !self.is_starting(start) {
            return vec![];
        }
        let mut events = vec![Event::StartFailed { start, code, message: short(message), at }];
        let status = ExitStatus::Code(code);
        let end = End { start, status, started_at: None, at, oom: false, error: None };
        if self.card.auto_remove {
            events.push(self.auto_removal());
        } else if self.restarts.count > 0 {
            // A user's start reports its failure to the user, who decides; for a start by policy the policy decides.
            events.extend(self.scheduled(&end));
        }
        events
    }

    /// The start that the policy wants after this end.
    pub(super) fn scheduled(&self, end: &End) -> Option<Event> {
        self.card.restart.wants(end.status, &self.restarts).then(|| Event::RestartScheduled {
            start: end.start,
            attempt: self.restarts.count.saturating_add(1),
            due: self.restarts.due(end),
        })
    }

    pub(super) fn restart_due(&self, start: StartId, boot: BootId, at: Timestamp) -> Vec<Event> {
        match &self.phase {
            Phase::Restarting(waiting) if waiting.end.start == start => {
                // Evaluated again, because the policy may have been changed meanwhile.
                if self.card.restart.wants(waiting.end.status, &self.restarts) {
                    vec![self.request_start(0, boot, at)]
                } else {
                    vec![Event::RestartCancelled { start }]
                }
            }
            Phase::Restarting(_)
            | Phase::Created
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Pausing(_)
            | Phase::Paused(_)
            | Phase::Resuming(_)
            | Phase::Exited(_)
            | Phase::Removing(_) => vec![],
        }
    }

    /// Anonymous volumes are removed with it, since they were made for this container alone.
    pub(super) fn auto_removal(&self) -> Event {
        Event::RemoveRequested { force: false, volumes: true }
    }
}
