//! From a user's text to an image, its config and its layers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Images;
use super::error::ImageError;
use super::manifest::ImageConfig;
use super::records::Entity;
use super::reference::Reference;
use crate::domain::id::{ContainerId, Digest};
use crate::domain::image::Image;
use crate::ledger::Snapshot;

/// Configs kept in memory: those of images that containers are made of again and again.
const CONFIGS: usize = 64;

/// Parsed configs, by image.
#[derive(Debug, Default)]
pub(super) struct Configs(Mutex<HashMap<Digest, Arc<ImageConfig>>>);

impl Configs {
    /// Drops the config of a removed image: the image may be added again, with or without its file.
    pub(super) fn forget(&self, id: &Digest) {
        lock(&self.0).remove(id);
    }
}

impl Images {
    /// By full id, name, or unambiguous beginning of an id, in this order.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Entity>, ImageError> {
        let images = self.ledger.snapshot();
        let found = find(&images, reference)?;
        Ok(images.get(&found).expect("it was found in this snapshot").clone())
    }

    /// The image's config, with its layers. Blocks on the disk the first time.
    pub(crate) fn config(&self, id: &Digest) -> Result<Arc<ImageConfig>, ImageError> {
        if let Some(config) = lock(&self.configs.0).get(id) {
            return Ok(config.clone());
        }
        let bytes = self.store.blob(id)?;
        let config = ImageConfig::parse(&bytes).map_err(ImageError::document(format!("config {id}")))?;
        let config = Arc::new(config);
        let mut configs = lock(&self.configs.0);
        if configs.len() >= CONFIGS {
            configs.clear();
        }
        configs.insert(*id, config.clone());
        Ok(config)
    }

    /// The layers that an overlay of the image is made of, bottom first. Looks at them; blocks.
    pub(crate) fn layers(&self, id: &Digest, config: &ImageConfig) -> Result<Vec<Digest>, ImageError> {
        let mut layers = stack(&config.diff_ids);
        // The kernel does not read the opaque attribute of a lower root, so layers below such a root are left out here.
        let hides = |diff_id: &Digest| {
            let root = self.store.dirs().layer(diff_id).join("fs");
            rustix::fs::lgetxattr(&root, "trusted.overlay.opaque", &mut [0; 8][..]).is_ok()
        };
        if let Some(top) = layers.iter().rposition(hides) {
            layers.drain(..top);
        }
        layers.extend(self.store.cover(id)?);
        Ok(layers)
    }

    /// A container that was made of the image.
    pub(crate) fn user_of(&self, id: &Digest) -> Option<ContainerId> {
        let containers = self.containers.snapshot();
        let user = containers.values().find(|entity| entity.state.card.image_id.as_ref() == Some(id));
        user.map(|entity| entity.state.id)
    }
}

fn find(images: &Snapshot<Image>, text: &str) -> Result<Digest, ImageError> {
    let not_found = || ImageError::NoSuchImage { reference: text.to_owned() };
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if let Ok(id) = Digest::from_hex(digits) {
        return images.get(&id).map(|_| id).ok_or_else(not_found);
    }
    let named = match text.parse::<Reference>() {
        Ok(reference) => {
            names_to_try(&reference).iter().find_map(|name| images.named(name)).map(|entity| entity.state.id)
        }
        // A text that is no valid name is an error, unless it may be the beginning of an id.
        Err(error) if images.with_prefix(digits).is_empty() => return Err(error.into()),
        Err(_) => None,
    };
    if let Some(id) = named {
        return Ok(id);
    }
    match images.with_prefix(digits).as_slice() {
        [] => Err(not_found()),
        [id] => Ok(*id),
        _ => Err(ImageError::Ambiguous { reference: text.to_owned() }),
    }
}

/// A name with tag and digest stands for the digest.
pub(super) fn names_to_try(reference: &Reference) -> Vec<String> {
    match reference.digest() {
        Some(digest) => vec![reference.with_digest(*digest).to_string()],
        None => vec![reference.to_string()],
    }
}

/// Diff ids as an overlay takes them: bottom first, each once. The upper of two equal layers hides the lower.
pub(crate) fn stack(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut seen = HashSet::new();
    let mut stack: Vec<Digest> = diff_ids.iter().rev().filter(|diff_id| seen.insert(**diff_id)).copied().collect();
    stack.reverse();
    stack
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::testing::facts;
    use crate::domain::image::{Image, NameHeld};
    use crate::ledger::Projection;

    fn image(byte: u8, names: &[&str]) -> Image {
        let names = names.iter().map(|name| NameHeld { name: (*name).to_owned(), since: 1 }).collect();
        Image { id: Digest([byte; 32]), version: 1, facts: facts(), names }
    }

    #[test]
    fn an_image_is_found_by_id_name_and_beginning() {
        let images = Projection::<Image>::default();
        let digest = Digest([7; 32]);
        images.restore(image(0xbe, &["docker.io/library/busybox:latest"]), 1);
        images
            .restore(image(0xbf, &["docker.io/library/be:latest", &format!("docker.io/library/busybox@{digest}")]), 2);
        let images = images.snapshot();
        let found = |text: &str| find(&images, text).map(|id| id.0[0]);
        for text in [
            "busybox",
            "docker.io/library/busybox:latest",
            &format!("sha256:{}", "be".repeat(32)),
            "bebe",
            "sha256:bebe",
        ] {
            assert_eq!(found(text).unwrap(), 0xbe, "{text}");
        }
        for text in ["be", "bf", &format!("busybox@{digest}"), &format!("busybox:other@{digest}")] {
            assert_eq!(found(text).unwrap(), 0xbf, "a name goes before the beginning of an id: {text}");
        }
        assert!(matches!(found("b"), Err(ImageError::Ambiguous { .. })));
        for text in ["nothing", "c0", &"ab".repeat(32), "busybox:1", ""] {
            assert!(matches!(found(text), Err(ImageError::NoSuchImage { .. } | ImageError::Reference(_))), "{text}");
        }
        assert!(matches!(found("Not:A:Name"), Err(ImageError::Reference(_))));
    }

    #[test]
    fn of_a_layer_that_occurs_twice_the_upper_one_stays() {
        let id = |byte| Digest([byte; 32]);
        assert_eq!(stack(&[id(1), id(2), id(1), id(3)]), [id(2), id(1), id(3)]);
        assert_eq!(stack(&[]), []);
    }
}
