//! The container as an aggregate of the ledger.

use super::{Card, Command, Container, Event, Rejection, decide, evolve};
use crate::aggregate::{Aggregate, Queued, Title, Urgency};
use crate::id::ContainerId;

impl Aggregate for Container {
    const NOUN: &'static str = "container";
    const REUSES_IDS: bool = false;

    type Id = ContainerId;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn id(&self) -> &ContainerId {
        &self.id
    }

    fn short(id: &ContainerId) -> String {
        id.short()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn decide(_: &ContainerId, state: Option<&Self>, command: &Command) -> Result<Vec<Event>, Rejection> {
        decide(state, command)
    }

    fn evolve(state: Option<Self>, event: &Event) -> Option<Self> {
        evolve(state, event)
    }

    fn urgency(event: &Event) -> Urgency {
        match event {
            Event::Created { .. }
            | Event::StartRequested { .. }
            | Event::UpdateRequested { .. }
            | Event::ExecStarted { detached: true, .. }
            | Event::Renamed { .. } => Urgency::Ordinary,
            // Execs, attaches and pauses are how operators find the files that fill the disk, halt their writer and
            // delete them.
            Event::ExecStarted { detached: false, .. } | Event::Attached { .. } | Event::PauseRequested => Urgency::Cleanup,
            Event::Started { .. }
            | Event::StartFailed { .. }
            | Event::Paused
            | Event::PauseFailed { .. }
            | Event::ResumeRequested
            | Event::Resumed
            | Event::ResumeFailed { .. }
            | Event::StopRequested { .. }
            | Event::Killed { .. }
            | Event::Exited { .. }
            | Event::OomKilled { .. }
            | Event::ShimLost { .. }
            | Event::ShimAdopted { .. }
            | Event::Updated
            | Event::UpdateFailed { .. }
            | Event::RestartScheduled { .. }
            | Event::RestartCancelled { .. }
            // Later reports wait for it.
            | Event::HealthChanged { .. }
            | Event::ExecExited { .. }
            | Event::Detached { .. }
            | Event::NetworkAttached { .. }
            | Event::NetworkDetached { .. }
            | Event::RemoveRequested { .. }
            | Event::RemoveFailed { .. }
            | Event::Removed => Urgency::Urgent,
        }
    }

    fn event_name(event: &Event) -> &'static str {
        event.name()
    }

    fn title(_: &ContainerId, before: Option<&Self>, events: &[Event], after: Option<&Self>) -> Title {
        let card = match events.first() {
            Some(Event::Created { card, .. }) => Some(card),
            _ => after.or(before).map(|container| &container.card),
        };
        card.map(|Card { name, image, .. }| Title { name: name.to_string(), image: image.clone() }).unwrap_or_default()
    }
}

impl Queued for Container {
    fn unknown() -> Rejection {
        Rejection::NoSuchContainer
    }

    fn in_transition() -> Rejection {
        Rejection::InTransition
    }

    fn is_in_transition(rejection: &Rejection) -> bool {
        *rejection == Rejection::InTransition
    }
}
