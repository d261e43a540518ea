//! Folds in one fact. Never refuses: what happened, happened.

use super::{Event, Facts, Image, NameHeld};

/// The image after the event; `None` when it is gone.
///
/// What does not fit, since a damaged journal lacks what came before, changes the version alone.
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
                // The end: not for this arm.
                Event::Removed => {}
            }
            Some(image)
        }
    }
}

impl Image {
    /// The content is the same, and so is what is said of it; but it was wanted again, and what pins it holds.
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
