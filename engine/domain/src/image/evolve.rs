//! Applies one event to an image. Never refuses, since events are facts.

use super::{Event, Facts, Image, NameHeld};

/// The image after the event; `None` when it is gone.
///
/// An event that does not fit, because a damaged journal lacks earlier ones, changes the version alone.
pub fn evolve(image: Option<Image>, event: &Event) -> Option<Image> {
    match (image, event) {
        (None, Event::Added { id, facts, names, since, .. }) => {
            let mut image = Image { id: *id, version: 1, facts: facts.clone(), names: vec![] };
            names.iter().for_each(|name| image.hold(name, *since));
            Some(image)
        }
        (None, Event::Tagged { .. } | Event::Untagged { .. } | Event::Removed) | (Some(_), Event::Removed) => None,
        (Some(mut image), event) => {
            image.version += 1;
            match event {
                Event::Added { facts, names, since, .. } => {
                    image.add_again(facts);
                    names.iter().for_each(|name| image.hold(name, *since));
                }
                Event::Tagged { name, since } => image.hold(name, *since),
                Event::Untagged { name } => image.names.retain(|held| held.name != *name),
                // Handled by the caller: the end.
                Event::Removed => {}
            }
            Some(image)
        }
    }
}

impl Image {
    /// The content, and so its description, is the same; the time and the pin are taken from the new event.
    fn add_again(&mut self, facts: &Facts) {
        self.facts.added_at = facts.added_at;
        self.facts.used_at = self.facts.used_at.max(facts.used_at);
        self.facts.pinned |= facts.pinned;
    }

    fn hold(&mut self, name: &str, since: u64) {
        match self.names.iter_mut().find(|held| held.name == name) {
            Some(held) => held.since = held.since.max(since),
            None => self.names.push(NameHeld { name: name.to_owned(), since }),
        }
    }
}
