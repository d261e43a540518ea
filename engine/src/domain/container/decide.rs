//! What a command leads to: events, nothing (already so), or a refusal. Changes nothing.

use super::{Attachment, Card, Command, Container, End, Event, ExitStatus, Phase, Run, Update};
use crate::domain::id::{BootId, Digest, Name, Signal, StartId, Timestamp};
use crate::domain::text::cut;

/// A refusal. `InTransition` means: ask again when the pending outcome is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    NoSuchContainer,
    IdTaken,
    /// An operation is under way; its outcome decides.
    InTransition,
    NotRunning,
    Paused,
    StillRunning,
    StillPaused,
    BeingRemoved,
    SameName {
        name: Name,
    },
    /// The update was made of a definition that is not the container's any more.
    DefinitionChanged,
}

type Decision = Result<Vec<Event>, Rejection>;

pub fn decide(container: Option<&Container>, command: &Command) -> Decision {
    match container {
        Some(container) => container.decide(command),
        None => decide_unborn(command),
    }
}

fn decide_unborn(command: &Command) -> Decision {
    match command {
        Command::Create { id, card } => Ok(vec![Event::CreateRequested { id: *id, card: card.clone() }]),
        // A late report of what is gone already.
        Command::ReportCreated
        | Command::ReportCreateFailed { .. }
        | Command::ReportStarted { .. }
        | Command::ReportStartFailed { .. }
        | Command::ReportPaused
        | Command::ReportPauseFailed { .. }
        | Command::ReportResumed
        | Command::ReportResumeFailed { .. }
        | Command::StopDeadlinePassed { .. }
        | Command::ReportExit { .. }
        | Command::ReportOom { .. }
        | Command::ReportShimLost { .. }
        | Command::ReportShimAdopted { .. }
        | Command::ReportUpdated
        | Command::ReportUpdateFailed { .. }
        | Command::RestartDue { .. }
        | Command::ReportHealth { .. }
        | Command::ReportExecExited { .. }
        | Command::ReportDetached { .. }
        | Command::ReportNetworkAttached { .. }
        | Command::ReportNetworkDetached { .. }
        | Command::ReportRemoved
        | Command::ReportRemoveFailed { .. } => Ok(vec![]),
        Command::Start { .. }
        | Command::Stop { .. }
        | Command::Restart { .. }
        | Command::Kill { .. }
        | Command::Pause
        | Command::Resume
        | Command::Rename { .. }
        | Command::Remove { .. }
        | Command::Update { .. }
        | Command::BeginExec { .. }
        | Command::BeginAttach { .. } => Err(Rejection::NoSuchContainer),
    }
}

impl Container {
    fn decide(&self, command: &Command) -> Decision {
        match command {
            Command::Create { .. } => Err(Rejection::IdTaken),
            Command::Start { boot, at } => self.start(*boot, *at),
            Command::Stop { signal, grace, at } => self.stop(*signal, *grace, *at, false),
            Command::Restart { grace, boot, at } => self.restart(*grace, *boot, *at),
            Command::Kill { signal } => self.kill(*signal),
            Command::Pause => self.pause(),
            Command::Resume => self.resume(),
            Command::Rename { name } => self.rename(name),
            Command::Remove { force, volumes } => self.remove(*force, *volumes),
            Command::Update { base, definition, restart, live } => {
                self.update(*base, Update { definition: *definition, restart: *restart }, *live)
            }
            Command::BeginExec { exec, argv, user, tty, detached } => Ok(vec![Event::ExecStarted {
                start: self.enterable()?,
                exec: *exec,
                argv: cut(argv, Event::ARGV_LIMIT).to_owned(),
                user: cut(user, Event::USER_LIMIT).to_owned(),
                tty: *tty,
                detached: *detached,
            }]),
            Command::BeginAttach { session, stdin, tty, starting } => {
                if !(*starting && matches!(self.phase, Phase::Starting(_))) {
                    self.enterable()?;
                }
                Ok(vec![Event::Attached { session: *session, stdin: *stdin, tty: *tty }])
            }
            Command::ReportCreated => Ok(only_if(matches!(self.phase, Phase::Creating), || Event::Created)),
            Command::ReportCreateFailed { message } => {
                let message = short(message);
                Ok(only_if(matches!(self.phase, Phase::Creating), || Event::CreateFailed { message }))
            }
            Command::ReportStarted { start, process, shim, at } => Ok(only_if(self.is_starting(*start), || {
                Event::Started { start: *start, process: *process, shim: *shim, at: *at }
            })),
            Command::ReportStartFailed { start, code, message, at } => {
                Ok(self.start_failed(*start, *code, message, *at))
            }
            Command::ReportPaused => Ok(only_if(matches!(self.phase, Phase::Pausing(_)), || Event::Paused)),
            Command::ReportPauseFailed { message } => {
                let message = short(message);
                Ok(only_if(matches!(self.phase, Phase::Pausing(_)), || Event::PauseFailed { message }))
            }
            Command::ReportResumed => Ok(only_if(matches!(self.phase, Phase::Resuming(_)), || Event::Resumed)),
            Command::ReportResumeFailed { message } => {
                let message = short(message);
                Ok(only_if(matches!(self.phase, Phase::Resuming(_)), || Event::ResumeFailed { message }))
            }
            Command::StopDeadlinePassed { start } => Ok(self.stop_deadline_passed(*start)),
            Command::ReportExit { start, status, at, oom, boot } => {
                let Some(run) = self.running(*start) else { return Ok(vec![]) };
                let mut events = Vec::with_capacity(3);
                if *oom && !run.oom {
                    events.push(Event::OomKilled { start: *start });
                }
                events.push(Event::Exited { start: *start, status: *status, at: *at });
                events.extend(self.follow_up(run, *status, events.len(), *boot, *at));
                Ok(events)
            }
            Command::ReportOom { start } => {
                Ok(only_if(self.running(*start).is_some_and(|run| !run.oom), || Event::OomKilled { start: *start }))
            }
            Command::ReportShimLost { start } => {
                Ok(only_if(self.running(*start).is_some_and(|run| run.shim.is_some()), || Event::ShimLost {
                    start: *start,
                }))
            }
            Command::ReportShimAdopted { start, shim } => {
                Ok(only_if(self.running(*start).is_some_and(|run| run.shim != Some(*shim)), || Event::ShimAdopted {
                    start: *start,
                    shim: *shim,
                }))
            }
            Command::ReportUpdated => Ok(only_if(self.update.is_some(), || Event::Updated)),
            Command::ReportUpdateFailed { message } => {
                let message = short(message);
                Ok(only_if(self.update.is_some(), || Event::UpdateFailed { message }))
            }
            Command::RestartDue { start, boot, at } => Ok(self.restart_due(*start, *boot, *at)),
            Command::ReportHealth { start, health } => {
                let news = self.running(*start).is_some_and(|run| run.health.is_some_and(|known| known != *health));
                Ok(only_if(news, || Event::HealthChanged { start: *start, health: *health }))
            }
            // Sessions are not part of the state: these are facts of their own.
            Command::ReportExecExited { exec, status, at, lasted_ms } => {
                Ok(vec![Event::ExecExited { exec: *exec, status: *status, at: *at, lasted_ms: *lasted_ms }])
            }
            Command::ReportDetached { session, lasted_ms } => {
                Ok(vec![Event::Detached { session: *session, lasted_ms: *lasted_ms }])
            }
            Command::ReportNetworkAttached { start, network, addresses } => {
                Ok(self.network_attached(&Attachment::cut(*start, network, addresses)))
            }
            Command::ReportNetworkDetached { start } => {
                let attached = self.networks.iter().any(|attachment| attachment.start == *start);
                Ok(only_if(attached, || Event::NetworkDetached { start: *start }))
            }
            Command::ReportRemoved => {
                let idle = matches!(&self.phase, Phase::Removing(removing) if removing.run.is_none());
                Ok(only_if(idle, || Event::Removed))
            }
            Command::ReportRemoveFailed { message } => {
                let message = short(message);
                // A removal tried again at every start of the daemon shall not fill the journal.
                let news =
                    matches!(&self.phase, Phase::Removing(removing) if removing.failed.as_ref() != Some(&message));
                Ok(only_if(news, || Event::RemoveFailed { message }))
            }
        }
    }

    fn start(&self, boot: BootId, at: Timestamp) -> Decision {
        match &self.phase {
            // What is to be started is not yet known.
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) if self.update.is_some() => {
                Err(Rejection::InTransition)
            }
            Phase::Created | Phase::Exited(_) => Ok(vec![self.request_start(0, boot, at)]),
            Phase::Restarting(waiting) => {
                Ok(vec![Event::RestartCancelled { start: waiting.end.start }, self.request_start(1, boot, at)])
            }
            Phase::Running(run) if run.stop.is_none() => Ok(vec![]),
            // A stop is under way: what it leads to decides.
            Phase::Running(_) => Err(Rejection::InTransition),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    /// `after` events of the same decision come before it.
    fn request_start(&self, after: usize, boot: BootId, at: Timestamp) -> Event {
        Event::StartRequested { start: StartId(self.version + after as u64 + 1), boot, at }
    }

    fn stop(&self, signal: Option<Signal>, grace: Option<u32>, at: Timestamp, then_start: bool) -> Decision {
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
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    fn restart(&self, grace: Option<u32>, boot: BootId, at: Timestamp) -> Decision {
        match &self.phase {
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => self.start(boot, at),
            Phase::Running(_)
            | Phase::Paused(_)
            | Phase::Creating
            | Phase::Starting(_)
            | Phase::Pausing(_)
            | Phase::Resuming(_)
            | Phase::Removing(_) => self.stop(None, grace, at, true),
        }
    }

    fn kill(&self, signal: Signal) -> Decision {
        match &self.phase {
            Phase::Running(run) => Ok(vec![Event::Killed { start: run.start, signal }]),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    fn pause(&self) -> Decision {
        match &self.phase {
            Phase::Running(run) if run.stop.is_some() => Err(Rejection::InTransition),
            Phase::Running(_) => Ok(vec![Event::PauseRequested]),
            Phase::Paused(_) => Ok(vec![]),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    fn resume(&self) -> Decision {
        match &self.phase {
            Phase::Paused(_) => Ok(vec![Event::ResumeRequested]),
            Phase::Running(_) => Ok(vec![]),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    fn rename(&self, name: &Name) -> Decision {
        match &self.phase {
            Phase::Creating => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
            Phase::Created
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Pausing(_)
            | Phase::Paused(_)
            | Phase::Resuming(_)
            | Phase::Exited(_)
            | Phase::Restarting(_) => {
                if *name == self.card.name {
                    Err(Rejection::SameName { name: name.clone() })
                } else {
                    Ok(vec![Event::Renamed { from: self.card.name.clone(), to: name.clone() }])
                }
            }
        }
    }

    fn remove(&self, force: bool, volumes: bool) -> Decision {
        match &self.phase {
            Phase::Created | Phase::Exited(_) => Ok(vec![Event::RemoveRequested { force, volumes }]),
            Phase::Running(_) | Phase::Paused(_) | Phase::Restarting(_) if force => {
                Ok(vec![Event::RemoveRequested { force, volumes }])
            }
            // About to run again, whatever the moment says.
            Phase::Running(_) | Phase::Restarting(_) => Err(Rejection::StillRunning),
            Phase::Paused(_) => Err(Rejection::StillPaused),
            Phase::Removing(removing) if removing.failed.is_some() => {
                Ok(vec![Event::RemoveRequested { force, volumes }])
            }
            // Joins the removal under way; a process that is still there gets its signal once more.
            Phase::Removing(removing) => Ok(match &removing.run {
                Some(run) if force => vec![Event::Killed { start: run.start, signal: Signal::KILL }],
                Some(_) | None => vec![],
            }),
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
        }
    }

    fn start_failed(&self, start: StartId, code: u8, message: &str, at: Timestamp) -> Vec<Event> {
        if !self.is_starting(start) {
            return vec![];
        }
        let mut events = vec![Event::StartFailed { start, code, message: short(message), at }];
        let status = ExitStatus::Code(code);
        let end = End { start, status, started_at: None, at, oom: false, error: None };
        if self.card.auto_remove {
            events.push(self.auto_removal());
        } else if self.restarts.count > 0 {
            // A user is told of the failure and decides; a start by policy has nobody but the policy.
            events.extend(self.scheduled(&end));
        }
        events
    }

    /// The start that the policy wants after this end.
    fn scheduled(&self, end: &End) -> Option<Event> {
        self.card.restart.wants(end.status, &self.restarts).then(|| Event::RestartScheduled {
            start: end.start,
            attempt: self.restarts.count.saturating_add(1),
            due: self.restarts.due(end),
        })
    }

    fn restart_due(&self, start: StartId, boot: BootId, at: Timestamp) -> Vec<Event> {
        match &self.phase {
            Phase::Restarting(waiting) if waiting.end.start == start => {
                // Asked once more: the policy may have been changed meanwhile.
                if self.card.restart.wants(waiting.end.status, &self.restarts) {
                    vec![self.request_start(0, boot, at)]
                } else {
                    vec![Event::RestartCancelled { start }]
                }
            }
            Phase::Restarting(_)
            | Phase::Creating
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

    fn update(&self, base: Digest, update: Update, live: bool) -> Decision {
        let requested = Event::UpdateRequested { definition: update.definition, restart: update.restart };
        let running = match &self.phase {
            Phase::Running(_) | Phase::Paused(_) => true,
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => false,
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                return Err(Rejection::InTransition);
            }
            Phase::Removing(_) => return Err(Rejection::BeingRemoved),
        };
        if self.update.is_some() {
            Err(Rejection::InTransition)
        } else if base != self.card.definition {
            Err(Rejection::DefinitionChanged)
        } else if update == (Update { definition: self.card.definition, restart: self.card.restart }) {
            Ok(vec![])
        } else if running && live {
            Ok(vec![requested])
        } else {
            Ok(vec![requested, Event::Updated])
        }
    }

    /// The start whose processes can be joined or attached to.
    fn enterable(&self) -> Result<StartId, Rejection> {
        match &self.phase {
            Phase::Running(run) => Ok(run.start),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Creating | Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
                Err(Rejection::InTransition)
            }
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    fn network_attached(&self, attachment: &Attachment) -> Vec<Event> {
        let fits = self.networks.len() < Attachment::LIMIT;
        let belongs = self.is_starting(attachment.start) || self.running(attachment.start).is_some();
        only_if(fits && belongs && !self.networks.contains(attachment), || Event::NetworkAttached {
            start: attachment.start,
            network: attachment.network.clone(),
            addresses: attachment.addresses.clone(),
        })
    }

    /// What an exit leads to beyond itself.
    fn follow_up(&self, run: &Run, status: ExitStatus, after: usize, boot: BootId, at: Timestamp) -> Option<Event> {
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

    /// What was made for this container alone goes with it.
    fn auto_removal(&self) -> Event {
        Event::RemoveRequested { force: false, volumes: true }
    }

    fn stop_deadline_passed(&self, start: StartId) -> Vec<Event> {
        let due = self.running(start).is_some_and(|run| run.stop.as_ref().is_some_and(|stop| !stop.killed));
        only_if(due, || Event::Killed { start, signal: Signal::KILL })
    }

    fn is_starting(&self, start: StartId) -> bool {
        matches!(&self.phase, Phase::Starting(starting) if starting.start == start)
    }

    fn running(&self, start: StartId) -> Option<&Run> {
        self.phase.run().filter(|run| run.start == start)
    }
}

/// What is stored of a message is what is known of it: the same before and after a restart.
fn short(message: &str) -> String {
    cut(message, Event::MESSAGE_LIMIT).to_owned()
}

fn only_if(holds: bool, event: impl FnOnce() -> Event) -> Vec<Event> {
    if holds { vec![event()] } else { vec![] }
}

impl Attachment {
    /// With what can be recorded of it.
    pub fn cut(start: StartId, network: &str, addresses: &[String]) -> Self {
        let short = |address: &String| cut(address, Self::ADDRESS_LIMIT).to_owned();
        let addresses = addresses.iter().take(Self::ADDRESS_COUNT).map(short).collect();
        Self { start, network: cut(network, Self::NAME_LIMIT).to_owned(), addresses }
    }
}

impl Card {
    /// Path and arguments in one line, cut at a character boundary.
    pub fn command_line<'a>(args: impl Iterator<Item = &'a str>) -> String {
        cut(&args.collect::<Vec<_>>().join(" "), Self::COMMAND_LIMIT).to_owned()
    }
}
