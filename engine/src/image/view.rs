//! An image's files, shown read-only in a directory of the host.
//!
//! The kernel's mounts are the only record of views: a second mount changes nothing, and
//! views outlive the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::ImageError;
use crate::domain::id::Digest;
use crate::engine::Engine;
use crate::rootfs;

impl Engine {
    /// Mounts the image and returns the directory.
    pub(crate) async fn mount_image(self: &Arc<Self>, reference: &str) -> Result<PathBuf, ImageError> {
        self.image_store.ready().await;
        let id = self.find_image(reference)?.state.id;
        let lease = self.image_leases.lease(id)?;
        let engine = self.clone();
        let mounting = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let config = engine.image_config(&id)?;
            let dirs = engine.image_store.dirs();
            let layers: Vec<PathBuf> =
                engine.image_layers(&id, &config)?.iter().map(|diff_id| dirs.layer(diff_id).join("fs")).collect();
            let target = dirs.view(&id);
            rootfs::mount_view(&layers, &target)
                .map_err(|source| ImageError::View { id: id.short(), source: source.into() })?;
            Ok(target)
        });
        mounting.await.map_err(|source| ImageError::Task { source })?
    }

    /// Unmounts it again; one that is not mounted is fine.
    pub(crate) async fn unmount_image(self: &Arc<Self>, reference: &str) -> Result<(), ImageError> {
        let id: Digest = self.find_image(reference)?.state.id;
        let target = self.image_store.dirs().view(&id);
        let unmounting = tokio::task::spawn_blocking(move || rootfs::unmount_view(&target));
        let unmounted = unmounting.await.map_err(|source| ImageError::Task { source })?;
        unmounted.map_err(|source| ImageError::View { id: id.short(), source: source.into() })
    }
}
