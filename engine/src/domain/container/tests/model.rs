//! The container once more, as a handful of flags and a list of conditions: a second opinion on `decide` and `evolve`.

use super::*;

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    exists: bool,
    creating: bool,
    starting: bool,
    alive: bool,
    pausing: bool,
    frozen: bool,
    resuming: bool,
    removing: bool,
    removal_failed: Option<String>,
    stop_deadline: Option<u64>,
    stop_killed: bool,
    start_after: bool,
    /// Its pid and start time.
    shim: Option<(u32, u64)>,
    oom: bool,
    fleeting: bool,
    name: String,
    /// Number of events so far.
    version: u64,
    /// The number of the current or last start.
    start: u64,
    pub(super) exits: Vec<u64>,
}

fn facts(process: Process) -> (u32, u64) {
    (process.pid, process.start_time)
}

const GRACE: u64 = 10_000_000_000;

impl Model {
    /// What the command gives: how many events, or the word for why not.
    pub(super) fn turn(&mut self, command: &Command) -> Result<u64, &'static str> {
        let (existed, before) = (self.exists, self.version);
        self.obey(command)?;
        Ok(if existed { self.version - before } else { u64::from(self.exists) })
    }

    fn obey(&mut self, command: &Command) -> Result<(), &'static str> {
        use Command as C;
        let asked = matches!(
            command,
            C::Start { .. }
                | C::Stop { .. }
                | C::Restart { .. }
                | C::Kill { .. }
                | C::Pause
                | C::Resume
                | C::Rename { .. }
                | C::Remove { .. }
        );
        if let C::Create { card, .. } = command {
            if self.exists {
                return Err("IdTaken");
            }
            *self = Self { exists: true, creating: true, version: 1, ..Self::default() };
            self.fleeting = card.auto_remove;
            self.name = card.name.to_string();
            return Ok(());
        }
        if !self.exists {
            return if asked { Err("NoSuchContainer") } else { Ok(()) };
        }
        if asked && self.removing && !matches!(command, C::Remove { .. }) {
            return Err("BeingRemoved");
        }
        let mut busy = self.creating || self.starting || self.pausing || self.resuming;
        if matches!(command, C::Rename { .. }) {
            busy = self.creating;
        }
        if asked && busy {
            return Err("InTransition");
        }
        if asked
            && self.frozen
            && matches!(command, C::Start { .. } | C::Stop { .. } | C::Restart { .. } | C::Kill { .. })
        {
            return Err("Paused");
        }
        if asked && !self.alive && matches!(command, C::Kill { .. } | C::Pause | C::Resume) {
            return Err("NotRunning");
        }
        self.act(command)
    }

    fn act(&mut self, command: &Command) -> Result<(), &'static str> {
        use Command as C;
        let stopping = self.stop_deadline.is_some();
        match command {
            C::Create { .. } => unreachable!("handled before"),
            C::Start { .. } if self.alive && stopping => return Err("InTransition"),
            C::Start { .. } if self.alive => {}
            C::Start { .. } => self.begin(),
            C::Restart { .. } if !self.alive => self.begin(),
            C::Restart { grace, at, .. } => self.stop(*grace, None, *at, true),
            C::Stop { .. } if !self.alive => {}
            C::Stop { signal, grace, at } => self.stop(*grace, *signal, *at, false),
            C::Kill { signal } => {
                self.version += 1;
                self.stop_killed |= stopping && signal.0 == 9;
            }
            C::Pause if stopping => return Err("InTransition"),
            C::Pause => self.when(!self.frozen, |model| model.pausing = true),
            C::Resume => self.when(self.frozen, |model| (model.frozen, model.resuming) = (false, true)),
            C::Rename { name } if name.as_str() == self.name => return Err("SameName"),
            C::Rename { name } => self.when(true, |model| model.name = name.to_string()),
            C::Remove { force, .. } if self.alive && !self.removing && !force => {
                return Err(if self.frozen { "StillPaused" } else { "StillRunning" });
            }
            C::Remove { force: true, .. } if self.alive && self.removing && self.removal_failed.is_none() => {
                self.version += 1;
                self.stop_killed |= stopping;
            }
            C::Remove { .. } => self.when(!self.removing || self.removal_failed.is_some(), Self::go),
            C::ReportCreated => self.when(self.creating, |model| model.creating = false),
            C::ReportCreateFailed { .. } => self.when(self.creating, |model| model.exists = false),
            C::ReportStarted { start, shim, .. } => self.when(self.starting && start.0 == self.start, |model| {
                (model.starting, model.alive, model.shim) = (false, true, shim.map(facts));
            }),
            C::ReportStartFailed { start, .. } => self.when(self.starting && start.0 == self.start, |model| {
                model.starting = false;
                let fleeting = model.fleeting;
                model.when(fleeting, Self::go);
            }),
            C::ReportPaused => self.when(self.pausing, |model| (model.pausing, model.frozen) = (false, true)),
            C::ReportPauseFailed { .. } => self.when(self.pausing, |model| model.pausing = false),
            C::ReportResumed => self.when(self.resuming, |model| model.resuming = false),
            C::ReportResumeFailed { .. } => {
                self.when(self.resuming, |model| (model.resuming, model.frozen) = (false, true));
            }
            C::StopDeadlinePassed { start } => {
                let due = self.runs(*start) && stopping && !self.stop_killed;
                self.when(due, |model| model.stop_killed = true);
            }
            C::ReportExit { start, oom, .. } if self.runs(*start) => self.exit(*oom),
            C::ReportOom { start } => self.when(self.runs(*start) && !self.oom, |model| model.oom = true),
            C::ReportShimLost { start } => {
                self.when(self.runs(*start) && self.shim.is_some(), |model| model.shim = None)
            }
            C::ReportShimAdopted { start, shim } => {
                self.when(self.runs(*start) && self.shim != Some(facts(*shim)), |model| {
                    model.shim = Some(facts(*shim))
                });
            }
            C::ReportRemoved => self.when(self.removing && !self.alive, |model| model.exists = false),
            C::ReportRemoveFailed { message } => {
                let news = self.removing && self.removal_failed.as_ref() != Some(message);
                self.when(news, |model| model.removal_failed = Some(message.clone()));
            }
            C::ReportExit { .. } => {}
        }
        Ok(())
    }

    fn runs(&self, start: StartId) -> bool {
        self.alive && self.start == start.0
    }

    /// One event, if so.
    fn when(&mut self, holds: bool, change: impl FnOnce(&mut Self)) {
        if holds {
            self.version += 1;
            change(self);
        }
    }

    fn begin(&mut self) {
        self.version += 1;
        self.start = self.version;
        self.starting = true;
    }

    fn stop(&mut self, grace: Option<u32>, signal: Option<Signal>, at: Timestamp, start_after: bool) {
        let deadline = at.0 + grace.map_or(GRACE, |grace| u64::from(grace) * 1_000_000_000);
        let same_end = self.start_after == start_after;
        if self.stop_deadline.is_some_and(|known| same_end && (self.stop_killed || known <= deadline)) {
            return;
        }
        self.version += 1;
        self.stop_deadline = Some(deadline);
        self.stop_killed = grace == Some(0) || signal.is_some_and(|signal| signal.0 == 9);
        self.start_after = start_after;
    }

    fn go(&mut self) {
        self.removing = true;
        self.removal_failed = None;
        self.frozen = false;
    }

    fn exit(&mut self, oom: bool) {
        self.version += u64::from(oom && !self.oom) + 1;
        let again = self.start_after && !self.removing;
        let go = self.fleeting && !self.removing && !again;
        self.exits.push(self.start);
        (self.alive, self.pausing, self.frozen, self.resuming) = (false, false, false, false);
        (self.stop_deadline, self.stop_killed, self.start_after, self.oom) = (None, false, false, false);
        if again {
            self.begin();
        }
        self.when(go, Self::go);
    }

    /// Fails unless the container is what the model thinks.
    pub(super) fn check(&self, container: Option<&Container>) {
        let Some(container) = container else {
            assert!(!self.exists);
            return;
        };
        assert!(self.exists);
        assert_eq!(container.version, self.version);
        assert_eq!(container.card.name.as_str(), self.name);
        let run = container.phase.run();
        assert_eq!(run.is_some(), self.alive);
        if let Some(run) = run {
            assert_eq!(run.start.0, self.start);
            assert_eq!(run.shim.map(facts), self.shim);
            assert_eq!(run.oom, self.oom);
            assert_eq!(run.stop.as_ref().map(|stop| stop.deadline.0), self.stop_deadline);
            assert_eq!(run.stop.as_ref().is_some_and(|stop| stop.killed), self.stop_killed);
            assert_eq!(run.stop.as_ref().is_some_and(|stop| stop.then_start), self.start_after);
        }
        let flags = (self.removing, self.creating, self.starting, self.pausing, self.frozen, self.resuming);
        let seen = match &container.phase {
            Phase::Creating => (false, true, false, false, false, false),
            Phase::Starting(_) => (false, false, true, false, false, false),
            Phase::Pausing(_) => (false, false, false, true, false, false),
            Phase::Paused(_) => (false, false, false, false, true, false),
            Phase::Resuming(_) => (false, false, false, false, false, true),
            Phase::Removing(_) => (true, false, false, false, false, false),
            Phase::Created | Phase::Running(_) | Phase::Exited(_) => (false, false, false, false, false, false),
        };
        assert_eq!(seen, flags);
        if let Phase::Removing(removing) = &container.phase {
            assert_eq!(removing.failed, self.removal_failed);
        }
        if let Phase::Starting(starting) = &container.phase {
            assert_eq!(starting.start.0, self.start);
        }
        let busy = self.creating || self.starting || self.pausing || self.resuming;
        assert_eq!(container.phase.in_transition(), busy || (self.removing && self.removal_failed.is_none()));
    }
}
