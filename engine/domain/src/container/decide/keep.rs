//! Commands on the container itself, in any phase; and how values are cut to their recordable size.

use super::{Decision, Rejection, only_if};
use crate::container::{Attachment, Card, Container, Event, Phase, Update};
use crate::id::{Digest, Name, Signal, StartId};
use crate::text::cut;

impl Container {
    pub(super) fn rename(&self, name: &Name) -> Decision {
        match &self.phase {
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

    pub(super) fn remove(&self, force: bool, volumes: bool) -> Decision {
        match &self.phase {
            Phase::Created | Phase::Exited(_) => Ok(vec![Event::RemoveRequested { force, volumes }]),
            Phase::Running(_) | Phase::Paused(_) | Phase::Restarting(_) if force => {
                Ok(vec![Event::RemoveRequested { force, volumes }])
            }
            // Also refused between two runs: a pending restart counts as running.
            Phase::Running(_) | Phase::Restarting(_) => Err(Rejection::StillRunning),
            Phase::Paused(_) => Err(Rejection::StillPaused),
            Phase::Removing(removing) if removing.failed.is_some() => {
                Ok(vec![Event::RemoveRequested { force, volumes }])
            }
            // Joins the pending removal; a process that is still alive gets SIGKILL once more.
            Phase::Removing(removing) => Ok(match &removing.run {
                Some(run) if force => vec![Event::Killed { start: run.start, signal: Signal::KILL }],
                Some(_) | None => vec![],
            }),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
        }
    }

    pub(super) fn update(&self, base: Digest, update: Update, live: bool) -> Decision {
        let requested = Event::UpdateRequested { definition: update.definition, restart: update.restart };
        let running = match &self.phase {
            Phase::Running(_) | Phase::Paused(_) => true,
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => false,
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => {
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

    /// The start that an exec can join or a session can attach to.
    pub fn enterable(&self) -> Result<StartId, Rejection> {
        match &self.phase {
            Phase::Running(run) => Ok(run.start),
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => Err(Rejection::NotRunning),
            Phase::Paused(_) => Err(Rejection::Paused),
            Phase::Starting(_) | Phase::Pausing(_) | Phase::Resuming(_) => Err(Rejection::InTransition),
            Phase::Removing(_) => Err(Rejection::BeingRemoved),
        }
    }

    /// The same for callers that need this particular start: another one is rejected, not waited for.
    pub(super) fn still_enterable(&self, start: StartId) -> Result<StartId, Rejection> {
        let present = self.phase.run().is_some_and(|run| run.start == start);
        match self.enterable() {
            Ok(_) | Err(Rejection::InTransition | Rejection::Paused) if !present => Err(Rejection::NotRunning),
            other => other,
        }
    }

    pub(super) fn network_attached(&self, attachment: &Attachment) -> Vec<Event> {
        let fits = self.networks.len() < Attachment::LIMIT;
        let belongs = self.is_starting(attachment.start) || self.running(attachment.start).is_some();
        only_if(fits && belongs && !self.networks.contains(attachment), || Event::NetworkAttached {
            start: attachment.start,
            network: attachment.network.clone(),
            addresses: attachment.addresses.clone(),
        })
    }
}

impl Attachment {
    /// An attachment, with its texts cut to their recordable size.
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
