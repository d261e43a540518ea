//! The volume as an aggregate of the ledger.

use super::{Command, Event, Rejection, Volume, decide, evolve};
use crate::aggregate::{Aggregate, Title, Urgency};
use crate::id::VolumeName;

impl Aggregate for Volume {
    const NOUN: &'static str = "volume";
    const REUSES_IDS: bool = true;

    type Id = VolumeName;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn id(&self) -> &VolumeName {
        &self.name
    }

    fn short(name: &VolumeName) -> String {
        name.to_string()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn decide(name: &VolumeName, state: Option<&Self>, command: &Command) -> Result<Vec<Event>, Rejection> {
        decide(name, state, command)
    }

    fn evolve(state: Option<Self>, event: &Event) -> Option<Self> {
        evolve(state, event)
    }

    fn urgency(event: &Event) -> Urgency {
        match event {
            Event::Created { .. } => Urgency::Ordinary,
            Event::RemoveRequested | Event::Removed => Urgency::Urgent,
        }
    }

    fn event_name(event: &Event) -> &'static str {
        event.name()
    }

    fn title(name: &VolumeName, _: Option<&Self>, _: &[Event], _: Option<&Self>) -> Title {
        Title { name: name.to_string(), image: String::new() }
    }
}
