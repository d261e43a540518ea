//! An image's files, shown read-only in a directory of the host.
//!
//! The kernel's mounts are the only record of views: a second mount changes nothing, and
//! views outlive the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use super::Images;
use super::error::ImageError;
use crate::domain::id::Digest;
use crate::rootfs;

impl Images {
    /// Mounts the image and returns the directory.
    pub(crate) async fn mount(self: &Arc<Self>, reference: &str) -> Result<PathBuf, ImageError> {
        self.store.ready().await;
        let id = self.find(reference)?.state.id;
        let lease = self.leases.lease(id)?;
        let images = self.clone();
        let mounting = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let config = images.config(&id)?;
            let dirs = images.store.dirs();
            let layers: Vec<PathBuf> =
                images.layers(&id, &config)?.iter().map(|diff_id| dirs.layer(diff_id).join("fs")).collect();
            let target = dirs.view(&id);
            rootfs::mount_view(&layers, &target)
                .map_err(|source| ImageError::View { id: id.short(), source: source.into() })?;
            Ok(target)
        });
        mounting.await.map_err(|source| ImageError::Task { source })?
    }

    /// Unmounts it again; one that is not mounted is fine.
    pub(crate) async fn unmount(self: &Arc<Self>, reference: &str) -> Result<(), ImageError> {
        let id: Digest = self.find(reference)?.state.id;
        let target = self.store.dirs().view(&id);
        let unmounting = tokio::task::spawn_blocking(move || rootfs::unmount_view(&target));
        let unmounted = unmounting.await.map_err(|source| ImageError::Task { source })?;
        unmounted.map_err(|source| ImageError::View { id: id.short(), source: source.into() })
    }
}
