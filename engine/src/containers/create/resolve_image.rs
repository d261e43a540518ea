//! The image of a new container.

use std::sync::Arc;

use super::image::ImageForCreate;
use crate::containers::ContainerError;
use crate::containers::tasks::blocking;
use crate::engine::Engine;
use crate::image::ImageLease;
use crate::image::reference::Reference;

/// The image's settings, and a lease that keeps it until the container is recorded as its user.
pub(super) async fn image_for_create(
    engine: &Arc<Engine>,
    reference: &str,
) -> Result<(ImageForCreate, ImageLease), ContainerError> {
    engine.images.ready().await;
    if let Ok(name) = reference.parse::<Reference>() {
        engine.images.provide_built_in(&name).await?;
    }
    let id = engine.images.find(reference)?.state.id;
    let lease = engine.images.lease(id)?;
    // Looked up again: it may have been removed before the lease.
    engine.images.find(&id.to_string())?;
    let images = engine.images.clone();
    let (config, layers) = blocking(move || {
        let config = images.config(&id)?;
        let layers = images.layers(&id, &config)?;
        Ok((config, layers))
    })
    .await?;
    let layers = layers.iter().map(|diff_id| diff_id.hex()).collect();
    Ok((ImageForCreate { id, name: reference.to_owned(), config, layers }, lease))
}
