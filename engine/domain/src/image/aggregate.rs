//! The image as an aggregate of the ledger.

use super::{Command, Event, Image, Rejection, decide, evolve};
use crate::aggregate::{Aggregate, Title, Urgency};
use crate::id::Digest;

impl Aggregate for Image {
    const NOUN: &'static str = "image";
    const REUSES_IDS: bool = true;

    type Id = Digest;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn id(&self) -> &Digest {
        &self.id
    }

    fn short(id: &Digest) -> String {
        id.short()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn decide(id: &Digest, state: Option<&Self>, command: &Command) -> Result<Vec<Event>, Rejection> {
        decide(*id, state, command)
    }

    fn evolve(state: Option<Self>, event: &Event) -> Option<Self> {
        evolve(state, event)
    }

    fn urgency(event: &Event) -> Urgency {
        match event {
            Event::Added { .. } | Event::Tagged { .. } => Urgency::Ordinary,
            Event::Untagged { .. } | Event::Removed => Urgency::Urgent,
        }
    }

    fn event_name(event: &Event) -> &'static str {
        event.name()
    }

    fn title(_: &Digest, before: Option<&Self>, events: &[Event], _: Option<&Self>) -> Title {
        let changed = events.iter().find_map(|event| match event {
            Event::Added { names, .. } => names.first().cloned(),
            Event::Tagged { name, .. } | Event::Untagged { name } => Some(name.clone()),
            Event::Removed => None,
        });
        let held = || before.and_then(|image| image.names.first()).map(|held| held.name.clone());
        Title { name: String::new(), image: changed.or_else(held).unwrap_or_default() }
    }
}
