//! All images as they are now: what every read is answered from. Written only by the journal's publication, in journal
//! order; a reader takes a structurally shared copy and never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::Image;
use crate::turn::Lanes;

/// An image and where its record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    pub image: Image,
    /// Its last event's place in the journal.
    pub seq: u64,
}

/// The images and who has which name.
#[derive(Debug, Default)]
pub struct Images {
    state: RwLock<Snapshot>,
    /// The next number for names: above all that were ever given, as far as the store tells.
    since: AtomicU64,
    changed: Notify,
    pub(crate) lanes: Lanes,
}

/// All images as of one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    images: imbl::OrdMap<Digest, Arc<Entity>>,
    /// A name and every image that lists it, with its number. Nearly always one.
    names: imbl::OrdMap<String, imbl::Vector<(u64, Digest)>>,
}

impl Snapshot {
    pub fn get(&self, id: &Digest) -> Option<&Arc<Entity>> {
        self.images.get(id)
    }

    /// All images, by id.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Entity>> {
        self.images.values()
    }

    pub fn len(&self) -> usize {
        self.images.len()
    }

    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The image that has this name: of several that list it, the one with the largest number.
    pub fn named(&self, name: &str) -> Option<&Arc<Entity>> {
        let (_, id) = self.names.get(name)?.iter().max()?;
        self.images.get(id)
    }

    /// Every image that lists the name. All but `named` have lost it, and are to be told so by `Untag`.
    pub fn listing(&self, name: &str) -> Vec<Digest> {
        self.names.get(name).into_iter().flatten().map(|(_, id)| *id).collect()
    }

    /// The names that the image has, not counting those that another one has taken.
    pub fn names_of(&self, image: &Image) -> Vec<String> {
        let has = |name: &str| self.named(name).is_some_and(|entity| entity.image.id == image.id);
        image.names.iter().map(|held| &held.name).filter(|name| has(name)).cloned().collect()
    }

    /// The images whose id begins with these hexadecimal digits, two at most: enough to know that it is ambiguous.
    pub fn with_prefix(&self, digits: &str) -> Vec<Digest> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(hex) {
            return vec![];
        }
        let Ok(lowest) = Digest::from_hex(&format!("{digits:0<64}")) else { return vec![] };
        let matching = self.images.range(lowest..).map(|(id, _)| *id);
        matching.take_while(|id| id.hex().starts_with(digits)).take(2).collect()
    }

    fn put(&mut self, id: Digest, entity: Option<Arc<Entity>>) {
        if let Some(before) = self.images.remove(&id) {
            for held in &before.image.names {
                if let Some(mut holders) = self.names.remove(&held.name) {
                    holders.retain(|(_, holder)| *holder != id);
                    if !holders.is_empty() {
                        self.names.insert(held.name.clone(), holders);
                    }
                }
            }
        }
        if let Some(entity) = entity {
            for held in &entity.image.names {
                let mut holders = self.names.get(&held.name).cloned().unwrap_or_default();
                holders.push_back((held.since, id));
                self.names.insert(held.name.clone(), holders);
            }
            self.images.insert(id, entity);
        }
    }
}

impl Images {
    pub fn get(&self, id: &Digest) -> Option<Arc<Entity>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, as of one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn named(&self, name: &str) -> Option<Arc<Entity>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).named(name).cloned()
    }

    /// A number for names that are to be given now: whoever asks later gets a larger one.
    pub fn next_since(&self) -> u64 {
        self.since.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Puts in an image read from the store, before anything else runs.
    pub fn restore(&self, image: Image, seq: u64) {
        self.put(image.id, Some(image), seq);
    }

    /// Takes out an image whose events, read at start, say that it is gone.
    pub fn forget(&self, id: &Digest) {
        self.put(*id, None, 0);
    }

    /// The journal's publication: the state after its events, then word to whoever waits.
    pub fn publish(&self, id: Digest, after: Option<Image>, seq: u64) {
        self.put(id, after, seq);
        self.changed.notify_waiters();
    }

    /// A row was saved that says when the image was used.
    pub fn used(&self, id: &Digest, version: u64, at: Timestamp) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entity) = state.get(id).filter(|entity| entity.image.version == version) {
            let mut entity = (**entity).clone();
            entity.image.facts.used_at = at;
            state.images.insert(*id, Arc::new(entity));
        }
    }

    /// Waits until the image's version is another than `version`, which is 0 for one that is not here.
    pub async fn changed_since(&self, id: &Digest, version: u64) {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            // Enabled before looking: a change in between is not missed.
            if self.get(id).map_or(0, |entity| entity.image.version) != version {
                return;
            }
            notified.await;
        }
    }

    fn put(&self, id: Digest, image: Option<Image>, seq: u64) {
        let newest = image.iter().flat_map(|image| &image.names).map(|held| held.since).max();
        self.since.fetch_max(newest.unwrap_or(0), Ordering::SeqCst);
        let entity = image.map(|image| Arc::new(Entity { image, seq }));
        self.state.write().unwrap_or_else(PoisonError::into_inner).put(id, entity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::NameHeld;
    use crate::domain::image::tests::facts;

    fn image(byte: u8, version: u64, names: &[(&str, u64)]) -> Image {
        let names = names.iter().map(|(name, since)| NameHeld { name: (*name).to_owned(), since: *since }).collect();
        Image { id: Digest([byte; 32]), version, facts: facts(), names }
    }

    fn id(images: &Images, name: &str) -> Option<Digest> {
        images.named(name).map(|entity| entity.image.id)
    }

    #[test]
    fn a_name_belongs_to_the_image_that_got_it_last() {
        let images = Images::default();
        images.restore(image(1, 1, &[("a", 5), ("b", 5)]), 1);
        images.restore(image(2, 1, &[("a", 7)]), 2);
        assert_eq!(id(&images, "a"), Some(Digest([2; 32])));
        assert_eq!(id(&images, "b"), Some(Digest([1; 32])));
        let snapshot = images.snapshot();
        assert_eq!(snapshot.names_of(&snapshot.get(&Digest([1; 32])).unwrap().image), ["b"]);
        assert_eq!(snapshot.listing("a").len(), 2);
        // The loser is told so, which changes nothing for the name.
        images.publish(Digest([1; 32]), Some(image(1, 2, &[("b", 5)])), 3);
        assert_eq!(id(&images, "a"), Some(Digest([2; 32])));
        assert_eq!(images.snapshot().listing("a"), [Digest([2; 32])]);
        images.publish(Digest([2; 32]), None, 4);
        assert_eq!(id(&images, "a"), None);
        assert_eq!(snapshot.len(), 2, "a snapshot stays as it was");
        assert_eq!(images.snapshot().len(), 1);
    }

    #[test]
    fn numbers_only_grow_also_after_a_start() {
        let images = Images::default();
        images.restore(image(1, 1, &[("a", 41)]), 1);
        images.forget(&Digest([1; 32]));
        assert_eq!((images.next_since(), images.next_since()), (42, 43));
        images.restore(image(2, 1, &[("a", 3)]), 2);
        assert_eq!(images.next_since(), 44);
    }

    #[test]
    fn ids_are_found_by_their_beginning() {
        let images = Images::default();
        for byte in [0x11, 0x12, 0xff] {
            images.restore(image(byte, 1, &[]), 1);
        }
        let snapshot = images.snapshot();
        assert_eq!(snapshot.with_prefix("1").len(), 2);
        assert_eq!(snapshot.with_prefix("12"), [Digest([0x12; 32])]);
        assert_eq!(snapshot.with_prefix(&"f".repeat(64)), [Digest([0xff; 32])]);
        for nothing in ["", "2", "xy", "AB", &"1".repeat(65)] {
            assert_eq!(snapshot.with_prefix(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn a_use_is_noted_unless_the_image_has_changed_since() {
        let images = Images::default();
        images.restore(image(1, 2, &[("a", 1)]), 1);
        images.used(&Digest([1; 32]), 1, Timestamp(90));
        assert_eq!(images.get(&Digest([1; 32])).unwrap().image.facts.used_at, facts().used_at);
        images.used(&Digest([1; 32]), 2, Timestamp(90));
        assert_eq!(images.get(&Digest([1; 32])).unwrap().image.facts.used_at, Timestamp(90));
        assert_eq!(id(&images, "a"), Some(Digest([1; 32])));
    }
}
