//! Which layers are needed by images, and which images by creations under way: counted as images come and go.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::ImageError;
use crate::domain::id::Digest;

/// The layers that images need.
#[derive(Debug, Default)]
pub(super) struct LayerUses(Mutex<Uses>);

#[derive(Debug, Default)]
struct Uses {
    layers_of_image: HashMap<Digest, Arc<[Digest]>>,
    counts: HashMap<Digest, usize>,
    /// Images whose layers are not known: as long as there is one, no layer counts as unneeded.
    unsure: HashSet<Digest>,
}

impl Uses {
    fn forget(&mut self, diff_ids: &[Digest]) {
        for diff_id in diff_ids {
            if let Some(count) = self.counts.get_mut(diff_id) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(diff_id);
                }
            }
        }
    }
}

impl LayerUses {
    pub(super) fn add(&self, image: Digest, diff_ids: &[Digest]) {
        let mut uses = lock(&self.0);
        for diff_id in diff_ids {
            *uses.counts.entry(*diff_id).or_default() += 1;
        }
        if let Some(before) = uses.layers_of_image.insert(image, diff_ids.into()) {
            uses.forget(&before);
        }
        uses.unsure.remove(&image);
    }

    /// Returns the layers that the image needed.
    pub(super) fn remove(&self, image: &Digest) -> Arc<[Digest]> {
        let mut uses = lock(&self.0);
        uses.unsure.remove(image);
        let Some(diff_ids) = uses.layers_of_image.remove(image) else { return Arc::default() };
        uses.forget(&diff_ids);
        diff_ids
    }

    pub(super) fn is_needed(&self, diff_id: &Digest) -> bool {
        lock(&self.0).counts.contains_key(diff_id)
    }

    /// The layers of this image are not known, until it is added again or removed.
    pub(super) fn mark_unsure(&self, image: Digest) {
        lock(&self.0).unsure.insert(image);
    }

    pub(super) fn is_unsure(&self) -> bool {
        !lock(&self.0).unsure.is_empty()
    }
}

/// Images that creations are about to use, and those that are leaving: never both.
#[derive(Debug, Default)]
pub(super) struct ImageLeases(Mutex<Leases>);

#[derive(Debug, Default)]
struct Leases {
    held: HashMap<Digest, usize>,
    leaving: HashSet<Digest>,
}

/// The image is not removed while this is kept.
#[derive(Debug)]
pub(crate) struct ImageLease {
    leases: Arc<ImageLeases>,
    image: Digest,
}

/// The image is not leased while this is kept.
#[derive(Debug)]
pub(super) struct Leaving {
    leases: Arc<ImageLeases>,
    image: Digest,
}

impl ImageLeases {
    pub(super) fn lease(self: &Arc<Self>, image: Digest) -> Result<ImageLease, ImageError> {
        let mut leases = lock(&self.0);
        if leases.leaving.contains(&image) {
            return Err(ImageError::BeingRemoved { id: image.short() });
        }
        *leases.held.entry(image).or_default() += 1;
        Ok(ImageLease { leases: self.clone(), image })
    }

    /// `None` while it is leased.
    pub(super) fn leave(self: &Arc<Self>, image: Digest) -> Option<Leaving> {
        let mut leases = lock(&self.0);
        (!leases.held.contains_key(&image) && leases.leaving.insert(image))
            .then(|| Leaving { leases: self.clone(), image })
    }
}

impl Drop for ImageLease {
    fn drop(&mut self) {
        let mut leases = lock(&self.leases.0);
        if let Some(count) = leases.held.get_mut(&self.image) {
            *count -= 1;
            if *count == 0 {
                leases.held.remove(&self.image);
            }
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        lock(&self.leases.0).leaving.remove(&self.image);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    #[test]
    fn a_layer_is_needed_until_its_last_image_has_left() {
        let uses = LayerUses::default();
        uses.add(id(1), &[id(10), id(11), id(10)]);
        uses.add(id(2), &[id(10)]);
        uses.add(id(2), &[id(10)]);
        assert!(uses.is_needed(&id(10)) && uses.is_needed(&id(11)));
        assert_eq!(*uses.remove(&id(1)), [id(10), id(11), id(10)]);
        assert!(uses.is_needed(&id(10)) && !uses.is_needed(&id(11)));
        uses.remove(&id(2));
        assert!(!uses.is_needed(&id(10)));
        assert_eq!(uses.remove(&id(2)).len(), 0);
    }

    #[test]
    fn a_leased_image_is_not_removed_and_a_removed_one_is_not_leased() {
        let leases = Arc::new(ImageLeases::default());
        let held = (leases.lease(id(1)).unwrap(), leases.lease(id(1)).unwrap());
        drop(held.0);
        assert!(leases.leave(id(1)).is_none());
        drop(held.1);
        let leaving = leases.leave(id(1)).unwrap();
        assert!(matches!(leases.lease(id(1)), Err(ImageError::BeingRemoved { .. })));
        assert!(leases.leave(id(1)).is_none() && leases.lease(id(2)).is_ok());
        drop(leaving);
        assert!(leases.lease(id(1)).is_ok());
    }
}
