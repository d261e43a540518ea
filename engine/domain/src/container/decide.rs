//! Decides on a command: events, none if the state is already as wanted, or a rejection. Changes nothing.

mod follow;
mod keep;
mod run;

use std::fmt;

use super::{Attachment, Command, Container, Event, Phase, Run, Update};
use crate::id::{Name, StartId};
use crate::text::cut;

/// An answer that refuses a command. After `InTransition` the caller asks again once the pending outcome is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    NoSuchContainer,
    IdTaken,
    /// An operation is pending; its outcome decides.
    InTransition,
    NotRunning,
    Paused,
    StillRunning,
    StillPaused,
    BeingRemoved,
    SameName {
        name: Name,
    },
    /// The update was made from a definition that is no longer the container's.
    DefinitionChanged,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchContainer => f.write_str("the container does not exist"),
            Self::IdTaken => f.write_str("the container's id is already in use"),
            Self::InTransition => f.write_str("another operation on the container has not finished"),
            Self::NotRunning => f.write_str("the container is not running"),
            Self::Paused => f.write_str("the container is paused"),
            Self::StillRunning => f.write_str("the container is still running"),
            Self::StillPaused => f.write_str("the container is still paused"),
            Self::BeingRemoved => f.write_str("the container is being removed"),
            Self::SameName { name } => write!(f, "the container is called {name} already"),
            Self::DefinitionChanged => f.write_str("the container was changed by somebody else in the same moment"),
        }
    }
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
        Command::Create { id, card } => Ok(vec![Event::Created { id: *id, card: card.clone() }]),
        // A late report about a container that is already gone.
        Command::ReportStarted { .. }
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
            Command::BeginExec { start, exec, argv, user, tty, detached } => Ok(vec![Event::ExecStarted {
                start: self.still_enterable(*start)?,
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
            // Sessions are not part of the state, so no earlier state can make these events superfluous.
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
                // A removal retried at every start of the daemon must not fill the journal.
                let news =
                    matches!(&self.phase, Phase::Removing(removing) if removing.failed.as_ref() != Some(&message));
                Ok(only_if(news, || Event::RemoveFailed { message }))
            }
        }
    }

    fn is_starting(&self, start: StartId) -> bool {
        matches!(&self.phase, Phase::Starting(starting) if starting.start == start)
    }

    fn running(&self, start: StartId) -> Option<&Run> {
        self.phase.run().filter(|run| run.start == start)
    }
}

/// Cut before comparing and storing: the message in memory is the same before and after a restart.
fn short(message: &str) -> String {
    cut(message, Event::MESSAGE_LIMIT).to_owned()
}

fn only_if(holds: bool, event: impl FnOnce() -> Event) -> Vec<Event> {
    if holds { vec![event()] } else { vec![] }
}
