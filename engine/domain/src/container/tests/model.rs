//! A second model of the container, as a handful of flags and a list of conditions, to check `decide` and `evolve`
//! against.

use super::*;

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    exists: bool,
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
    /// Pid and start time.
    shim: Option<(u32, u64)>,
    oom: bool,
    auto_remove_card: bool,
    policy: RestartPolicy,
    watched: bool,
    health: Option<Health>,
    waiting: bool,
    last_status: Option<ExitStatus>,
    /// Starts by policy since a user's.
    tries: u32,
    ended_by_user: bool,
    definition: Option<Digest>,
    update: Option<(Digest, RestartPolicy)>,
    networks: Vec<(u64, String, Vec<String>)>,
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
    /// The number of events, or the word of the rejection.
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
                | C::Update { .. }
                | C::BeginExec { .. }
                | C::BeginAttach { .. }
        );
        if let C::Create { card, .. } = command {
            if self.exists {
                return Err("IdTaken");
            }
            *self = Self { exists: true, version: 1, ..Self::default() };
            self.auto_remove_card = card.auto_remove;
            (self.policy, self.watched) = (card.restart, card.health != HealthAction::Unwatched);
            self.definition = Some(card.definition);
            self.name = card.name.to_string();
            return Ok(());
        }
        if !self.exists {
            return if asked { Err("NoSuchContainer") } else { Ok(()) };
        }
        if asked && self.removing && !matches!(command, C::Remove { .. }) {
            return Err("BeingRemoved");
        }
        // A session waits only for operations of its own start.
        if let C::BeginExec { start, .. } = command
            && !self.runs(*start)
        {
            return Err("NotRunning");
        }
        let along = self.starting && matches!(command, C::BeginAttach { starting: true, .. });
        let patient = !along && !matches!(command, C::Rename { .. });
        if asked && patient && (self.starting || self.pausing || self.resuming) {
            return Err("InTransition");
        }
        if asked
            && self.frozen
            && matches!(
                command,
                C::Start { .. }
                    | C::Stop { .. }
                    | C::Restart { .. }
                    | C::Kill { .. }
                    | C::BeginExec { .. }
                    | C::BeginAttach { .. }
            )
        {
            return Err("Paused");
        }
        let inside =
            matches!(command, C::Kill { .. } | C::Pause | C::Resume | C::BeginExec { .. } | C::BeginAttach { .. });
        if asked && !self.alive && inside && !along {
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
            C::Start { .. } | C::Restart { .. } if !self.alive && self.update.is_some() => return Err("InTransition"),
            C::Start { .. } => self.begin_for_user(),
            C::Restart { .. } if !self.alive => self.begin_for_user(),
            C::Restart { grace, at, .. } => self.stop(*grace, None, *at, true),
            C::Stop { .. } if !self.alive => {
                self.when(self.waiting, |model| (model.waiting, model.ended_by_user) = (false, true));
            }
            C::Stop { signal, grace, at } => self.stop(*grace, *signal, *at, false),
            C::Kill { signal } => {
                self.version += 1;
                self.stop_killed |= stopping && signal.0 == 9;
                self.ended_by_user |= !stopping && matches!(signal.0, 9 | 15);
            }
            C::Pause if stopping => return Err("InTransition"),
            C::Pause => self.when(!self.frozen, |model| model.pausing = true),
            C::Resume => self.when(self.frozen, |model| (model.frozen, model.resuming) = (false, true)),
            C::Rename { name } if name.as_str() == self.name => return Err("SameName"),
            C::Rename { name } => self.when(true, |model| model.name = name.to_string()),
            C::Remove { force, .. } if (self.alive || self.waiting) && !self.removing && !force => {
                return Err(if self.frozen { "StillPaused" } else { "StillRunning" });
            }
            C::Remove { force: true, .. } if self.alive && self.removing && self.removal_failed.is_none() => {
                self.version += 1;
                self.stop_killed |= stopping;
                self.ended_by_user |= !stopping;
            }
            C::Remove { .. } => self.when(!self.removing || self.removal_failed.is_some(), Self::go),
            C::ReportStarted { start, shim, .. } => self.when(self.starting && start.0 == self.start, |model| {
                (model.starting, model.alive, model.shim) = (false, true, shim.map(facts));
                model.health = model.watched.then_some(Health::Starting);
            }),
            C::ReportStartFailed { start, code, .. } => self.when(self.starting && start.0 == self.start, |model| {
                model.starting = false;
                model.last_status = Some(ExitStatus::Code(*code));
                let auto_remove_card = model.auto_remove_card;
                let again = !auto_remove_card && model.tries > 0 && model.wants();
                model.when(auto_remove_card, Self::go);
                model.when(again, |model| model.waiting = true);
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
            C::ReportExit { start, oom, status, .. } if self.runs(*start) => self.exit(*oom, *status),
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
            C::Update { .. } if self.update.is_some() => return Err("InTransition"),
            C::Update { base, .. } if Some(*base) != self.definition => return Err("DefinitionChanged"),
            C::Update { definition, restart, live, .. } => {
                let same = Some(*definition) == self.definition && *restart == self.policy;
                self.when(!same, |model| model.update = Some((*definition, *restart)));
                let at_once = !(same || self.alive && *live);
                self.when(at_once, Self::settle);
            }
            C::ReportUpdated => self.when(self.update.is_some(), Self::settle),
            C::ReportUpdateFailed { .. } => self.when(self.update.is_some(), |model| model.update = None),
            C::RestartDue { start, .. } => {
                if self.waiting && start.0 == self.start {
                    self.waiting = false;
                    if self.wants() {
                        self.tries += 1;
                        self.begin();
                    } else {
                        self.when(true, |model| model.ended_by_user = true);
                    }
                }
            }
            C::ReportHealth { start, health } => {
                let news = self.runs(*start) && self.health.is_some_and(|known| known != *health);
                self.when(news, |model| model.health = Some(*health));
            }
            C::BeginExec { .. } | C::BeginAttach { .. } | C::ReportExecExited { .. } | C::ReportDetached { .. } => {
                self.version += 1;
            }
            C::ReportNetworkAttached { start, network, addresses } => {
                let ours = (self.starting || self.alive) && start.0 == self.start;
                let attachment = (start.0, network.clone(), addresses.clone());
                let news = ours && self.networks.len() < 3 && !self.networks.contains(&attachment);
                self.when(news, |model| model.networks.push(attachment));
            }
            C::ReportNetworkDetached { start } => {
                let some = self.networks.iter().any(|(of, ..)| *of == start.0);
                self.when(some, |model| model.networks.retain(|(of, ..)| *of != start.0));
            }
        }
        Ok(())
    }

    fn runs(&self, start: StartId) -> bool {
        self.alive && self.start == start.0
    }

    /// Counts one event if the condition holds.
    fn when(&mut self, holds: bool, change: impl FnOnce(&mut Self)) {
        if holds {
            self.version += 1;
            change(self);
        }
    }

    fn settle(&mut self) {
        if let Some((definition, policy)) = self.update.take() {
            (self.definition, self.policy) = (Some(definition), policy);
        }
    }

    fn wants(&self) -> bool {
        match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { retries } => {
                self.last_status != Some(ExitStatus::Code(0)) && !(retries > 0 && self.tries >= retries)
            }
            RestartPolicy::OnReboot => {
                [Some(ExitStatus::Code(129)), Some(ExitStatus::Signal(Signal(1)))].contains(&self.last_status)
            }
        }
    }

    fn begin_for_user(&mut self) {
        self.when(self.waiting, |model| model.waiting = false);
        (self.tries, self.ended_by_user) = (0, false);
        self.begin();
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
        self.ended_by_user = !start_after;
    }

    fn go(&mut self) {
        self.removing = true;
        self.removal_failed = None;
        self.frozen = false;
        self.waiting = false;
    }

    fn exit(&mut self, oom: bool, status: ExitStatus) {
        self.version += u64::from(oom && !self.oom) + 1;
        let again = self.start_after && !self.removing;
        let go = self.auto_remove_card && !self.removing && !again;
        self.exits.push(self.start);
        (self.alive, self.pausing, self.frozen, self.resuming) = (false, false, false, false);
        (self.stop_deadline, self.stop_killed, self.start_after, self.oom) = (None, false, false, false);
        (self.last_status, self.health) = (Some(status), None);
        if again {
            self.begin_for_user();
        }
        self.when(go, Self::go);
        let by_policy = !again && !self.removing && !self.ended_by_user && self.wants();
        self.when(by_policy, |model| model.waiting = true);
    }

    /// Panics if the container differs from the model.
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
        assert_eq!(matches!(container.phase, Phase::Restarting(_)), self.waiting);
        assert_eq!((container.restarts.count, container.restarts.stopped), (self.tries, self.ended_by_user));
        assert_eq!(Some(container.card.definition), self.definition);
        assert_eq!(container.update.map(|update| (update.definition, update.restart)), self.update);
        let networks = container.networks.iter();
        let networks: Vec<_> =
            networks.map(|known| (known.start.0, known.network.clone(), known.addresses.clone())).collect();
        assert_eq!(networks, self.networks);
        if let Some(run) = run {
            assert_eq!(run.health, self.health);
            assert_eq!(run.start.0, self.start);
            assert_eq!(run.shim.map(facts), self.shim);
            assert_eq!(run.oom, self.oom);
            assert_eq!(run.stop.as_ref().map(|stop| stop.deadline.0), self.stop_deadline);
            assert_eq!(run.stop.as_ref().is_some_and(|stop| stop.killed), self.stop_killed);
            assert_eq!(run.stop.as_ref().is_some_and(|stop| stop.then_start), self.start_after);
        }
        let flags = (self.removing, self.starting, self.pausing, self.frozen, self.resuming);
        let seen = match &container.phase {
            Phase::Starting(_) => (false, true, false, false, false),
            Phase::Pausing(_) => (false, false, true, false, false),
            Phase::Paused(_) => (false, false, false, true, false),
            Phase::Resuming(_) => (false, false, false, false, true),
            Phase::Removing(_) => (true, false, false, false, false),
            Phase::Created | Phase::Running(_) | Phase::Exited(_) | Phase::Restarting(_) => {
                (false, false, false, false, false)
            }
        };
        assert_eq!(seen, flags);
        if let Phase::Removing(removing) = &container.phase {
            assert_eq!(removing.failed, self.removal_failed);
        }
        if let Phase::Starting(starting) = &container.phase {
            assert_eq!(starting.start.0, self.start);
        }
        let busy = self.starting || self.pausing || self.resuming;
        assert_eq!(container.phase.in_transition(), busy || (self.removing && self.removal_failed.is_none()));
    }
}
