//! Images beside their ledger: which image has which name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::AppendError;

use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::Image;
use crate::ledger::{Entry, Index, Ledger, Projection, Snapshot, WithCompanion};

/// All images.
pub(crate) type Records = Ledger<Image>;

/// An image as of one moment.
pub(crate) type Entity = Entry<Image>;

impl WithCompanion for Image {
    type Index = Names;
    type Companion = ();
}

/// A name and every image that lists it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// The images that list each name, with their numbers. Nearly always one.
    holders: imbl::OrdMap<String, imbl::Vector<(u64, Digest)>>,
    /// The largest number that was ever given, as far as the records show; one for all clones.
    since: Arc<AtomicU64>,
}

impl Index<Image> for Names {
    fn replace(&mut self, id: &Digest, before: Option<&Image>, after: Option<&Image>) {
        for held in before.into_iter().flat_map(|image| &image.names) {
            if let Some(mut holders) = self.holders.remove(&held.name) {
                holders.retain(|(_, holder)| holder != id);
                if !holders.is_empty() {
                    self.holders.insert(held.name.clone(), holders);
                }
            }
        }
        for held in after.into_iter().flat_map(|image| &image.names) {
            let mut holders = self.holders.get(&held.name).cloned().unwrap_or_default();
            holders.push_back((held.since, *id));
            self.holders.insert(held.name.clone(), holders);
            self.since.fetch_max(held.since, Ordering::SeqCst);
        }
    }
}

impl Snapshot<Image> {
    /// The image that has this name: of several that list it, the one with the largest number.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Entity>> {
        let (_, id) = self.index.holders.get(name)?.iter().max()?;
        self.get(id)
    }

    /// Every image that lists the name. All but `named` have lost it, and are to be untagged.
    pub(crate) fn listing(&self, name: &str) -> Vec<Digest> {
        self.index.holders.get(name).into_iter().flatten().map(|(_, id)| *id).collect()
    }

    /// The names that the image has, not counting those that another one has taken.
    pub(crate) fn names_of(&self, image: &Image) -> Vec<String> {
        let has = |name: &str| self.named(name).is_some_and(|entity| entity.state.id == image.id);
        image.names.iter().map(|held| &held.name).filter(|name| has(name)).cloned().collect()
    }

    /// The images whose id begins with these hexadecimal digits, two at most: enough to see that it is ambiguous.
    pub(crate) fn with_prefix(&self, digits: &str) -> Vec<Digest> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(hex) {
            return vec![];
        }
        let Ok(lowest) = Digest::from_hex(&format!("{digits:0<64}")) else { return vec![] };
        let matching = self.since(lowest).map(|(id, _)| *id);
        matching.take_while(|id| id.hex().starts_with(digits)).take(2).collect()
    }
}

impl Projection<Image> {
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Entity>> {
        self.snapshot().named(name).cloned()
    }

    /// A number for names that are to be given now: a later call gets a larger one.
    pub(crate) fn next_since(&self) -> u64 {
        self.index().since.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Ledger<Image> {
    /// Notes in the image's row that it was used at this time: no event, and nothing is lost if it is. An image that is
    /// gone, or that changes at this moment, is not touched.
    pub(crate) async fn save_use(&self, id: &Digest, used_at: Timestamp) -> Result<(), AppendError> {
        self.amend(id, |mut image| {
            let later = image.facts.used_at < used_at;
            image.facts.used_at = used_at;
            later.then_some(image)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::NameHeld;
    use crate::domain::image::testing::facts;

    fn image(byte: u8, version: u64, names: &[(&str, u64)]) -> Image {
        let names = names.iter().map(|(name, since)| NameHeld { name: (*name).to_owned(), since: *since }).collect();
        Image { id: Digest([byte; 32]), version, facts: facts(), names }
    }

    fn id(images: &Projection<Image>, name: &str) -> Option<Digest> {
        images.named(name).map(|entity| entity.state.id)
    }

    #[test]
    fn a_name_belongs_to_the_image_that_got_it_last() {
        let images = Projection::<Image>::default();
        images.restore(image(1, 1, &[("a", 5), ("b", 5)]), 1);
        images.restore(image(2, 1, &[("a", 7)]), 2);
        assert_eq!(id(&images, "a"), Some(Digest([2; 32])));
        assert_eq!(id(&images, "b"), Some(Digest([1; 32])));
        let snapshot = images.snapshot();
        assert_eq!(snapshot.names_of(&snapshot.get(&Digest([1; 32])).unwrap().state), ["b"]);
        assert_eq!(snapshot.listing("a").len(), 2);
        // The loser is untagged, which changes nothing for the name.
        images.publish(&Digest([1; 32]), Some(image(1, 2, &[("b", 5)])), 3);
        assert_eq!(id(&images, "a"), Some(Digest([2; 32])));
        assert_eq!(images.snapshot().listing("a"), [Digest([2; 32])]);
        images.publish(&Digest([2; 32]), None, 4);
        assert_eq!(id(&images, "a"), None);
        assert_eq!(snapshot.len(), 2, "a snapshot stays as it was");
        assert_eq!(images.snapshot().len(), 1);
    }

    #[test]
    fn numbers_only_grow_also_after_a_start() {
        let images = Projection::<Image>::default();
        images.restore(image(1, 1, &[("a", 41)]), 1);
        images.forget(&Digest([1; 32]));
        assert_eq!((images.next_since(), images.next_since()), (42, 43));
        images.restore(image(2, 1, &[("a", 3)]), 2);
        assert_eq!(images.next_since(), 44);
    }

    #[test]
    fn ids_are_found_by_their_beginning() {
        let images = Projection::<Image>::default();
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
    fn an_amendment_counts_unless_the_image_has_changed_since() {
        let images = Projection::<Image>::default();
        images.restore(image(1, 2, &[("a", 1)]), 1);
        let used = |version| {
            let mut image = image(1, version, &[("a", 1)]);
            image.facts.used_at = Timestamp(90);
            images.amend(image);
            images.get(&Digest([1; 32])).unwrap().state.facts.used_at
        };
        assert_eq!(used(1), facts().used_at);
        assert_eq!(used(2), Timestamp(90));
        assert_eq!(id(&images, "a"), Some(Digest([1; 32])));
    }
}
