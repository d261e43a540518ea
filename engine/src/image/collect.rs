//! Removal of layers and documents that no image needs any more; in doubt they are kept.

use std::sync::Arc;
use std::time::Duration;

use super::Images;
use super::error::ImageError;
use super::store::StoreError;
use crate::cause::chain;
use crate::domain::id::Digest;
use crate::node::Trust;
use crate::rootfs;

/// Layers of work that was interrupted wait this long for another attempt.
const LEFT_LAYERS: Duration = Duration::from_secs(24 * 3600);

impl Images {
    /// Removes those of the layers that no image needs and no work holds. Returns the bytes given back.
    pub(crate) async fn collect_layers(
        self: &Arc<Self>,
        diff_ids: Vec<Digest>,
        older_than: Duration,
    ) -> Result<u64, ImageError> {
        if let Some(reason) = self.reason_to_keep_layers() {
            self.node.warn(format!("layers without a known use are kept: {reason}"));
            return Ok(0);
        }
        let images = self.clone();
        let removing = tokio::task::spawn_blocking(move || {
            images.store.remove_layers(&diff_ids, older_than, |diff_id| images.layer_uses.is_needed(diff_id))
        });
        Ok(removing.await.map_err(|source| ImageError::Task { source })??)
    }

    /// The same in the background, once the tasks that make one of them now are done.
    pub(crate) fn collect_soon(self: &Arc<Self>, diff_ids: Vec<Digest>) {
        let images = self.clone();
        self.node.tasks.spawn(async move {
            for diff_id in &diff_ids {
                drop(images.store.maker(diff_id).await);
            }
            if let Err(error) = images.collect_layers(diff_ids, Duration::ZERO).await {
                images.node.warn(format!("layers of a cancelled pull could not be removed: {}", chain(&error)));
            }
        });
    }

    /// A layer may be needed by something that is not known: then none is removed.
    fn reason_to_keep_layers(&self) -> Option<String> {
        if self.node.trust() != Trust::Whole {
            return Some("the store is not whole".to_owned());
        }
        let mark = self.store.dirs().unsure();
        if mark.exists() {
            return Some(format!(
                "the store was not whole once, and images may be missing in it; remove `{}` when all are there",
                mark.display()
            ));
        }
        if self.layer_uses.is_unsure() {
            return Some("the config of an image cannot be read".to_owned());
        }
        let images = self.ledger.snapshot();
        let containers = self.containers.snapshot();
        let lost = containers
            .values()
            .find(|entity| entity.state.card.image_id.is_some_and(|image| images.get(&image).is_none()));
        lost.map(|entity| format!("the image of container {} is not known", entity.state.id.short()))
    }

    /// Reads the files of images, clears the remains of interrupted work, and compares them with the records. Once,
    /// after the daemon's start; pulls and the like wait for it.
    pub(crate) async fn recover(self: &Arc<Self>) {
        let images = self.clone();
        let opened = tokio::task::spawn_blocking(move || images.open());
        if let Err(error) = opened.await {
            self.node.warn(format!("the images could not be examined: {error}"));
        }
        if self.node.trust() != Trust::Whole {
            return;
        }
        let all = self.store.all_layers().into_iter().map(|(diff_id, _)| diff_id).collect();
        if let Err(error) = self.collect_layers(all, LEFT_LAYERS).await {
            self.node.warn(format!("unneeded layers could not be removed: {}", chain(&error)));
        }
    }

    fn open(&self) {
        // Also after a failure or a panic: waiting operations go on, and meet the failure themselves.
        struct Ready<'a>(&'a Images);
        impl Drop for Ready<'_> {
            fn drop(&mut self) {
                self.0.store.set_ready();
            }
        }
        let _ready = Ready(self);
        let images = self.ledger.snapshot();
        for entity in images.values() {
            let id = entity.state.id;
            let needed = self.config(&id).and_then(|config| {
                let cover = self.store.cover(&id)?;
                Ok(config.diff_ids.iter().copied().chain(cover).collect::<Vec<Digest>>())
            });
            match needed {
                Ok(needed) => self.layer_uses.add(id, &needed),
                Err(error) => {
                    self.layer_uses.mark_unsure(id);
                    self.node.warn(format!(
                        "image {} cannot be used: {}; pull or load it again, or remove it",
                        id.short(),
                        chain(&error)
                    ));
                }
            }
        }
        let opened = match self.node.trust() {
            Trust::Whole | Trust::Partial => self.store.open(),
            Trust::ReadOnly => Ok(self.store.look()),
        };
        match opened {
            Ok(warnings) => warnings.into_iter().for_each(|warning| self.node.warn(warning)),
            Err(error) => return self.node.warn(format!("images cannot be kept: {}", chain(&error))),
        }
        match self.node.trust() {
            Trust::Whole if self.reason_to_keep_layers().is_none() => {
                self.sweep_blobs();
                self.sweep_views();
            }
            Trust::Whole | Trust::ReadOnly => {}
            // The next start may find a store that is whole again, without the records that this one has lost.
            Trust::Partial => {
                let mark = self.store.dirs().unsure();
                if let Err(error) = crate::rootfs::write_atomically(&mark, b"", 0o600, true) {
                    self.node.warn(chain(&error));
                }
            }
        }
    }

    /// Documents of images that were never recorded, or are not any more.
    fn sweep_blobs(&self) {
        let images = self.ledger.snapshot();
        let needed: std::collections::HashSet<Digest> =
            images.values().flat_map(|entity| [entity.state.id, entity.state.facts.manifest]).collect();
        let or_warned = |listed: Result<Vec<Digest>, StoreError>| {
            listed.unwrap_or_else(|error| {
                self.node.warn(format!("unneeded files of images are not looked for: {}", chain(&error)));
                vec![]
            })
        };
        for image in or_warned(self.store.covered()).iter().filter(|image| images.get(image).is_none()) {
            if let Err(error) = self.store.put_cover(image, None) {
                self.node.warn(chain(&error));
            }
        }
        let blobs = or_warned(self.store.blobs());
        for digest in blobs.iter().filter(|digest| !needed.contains(digest)) {
            if let Err(error) = self.store.remove_blob(digest) {
                self.node.warn(chain(&error));
            }
        }
    }

    /// Views of images that are gone; those of living ones are their users'.
    fn sweep_views(&self) {
        let views = self.store.dirs().views();
        let entries = match std::fs::read_dir(&views) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                return self.node.warn(format!("cannot list `{}`: {error}; nothing of it is swept", views.display()));
            }
        };
        for entry in entries.flatten() {
            let image = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok());
            let kept = image.is_some_and(|id| self.ledger.get(&id).is_some()) && rootfs::is_mounted(&entry.path());
            if !kept && let Err(error) = rootfs::release(&entry.path()) {
                self.node.warn(chain(&error));
            }
        }
    }
}
