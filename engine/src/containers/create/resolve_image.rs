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
    engine.image_store.ready().await;
    if let Ok(name) = reference.parse::<Reference>() {
        engine.provide_built_in(&name).await?;
    }
    let id = engine.find_image(reference)?.state.id;
    let lease = engine.image_leases.lease(id)?;
    // Looked up again: it may have been removed before the lease.
    engine.find_image(&id.to_string())?;
    let engine = engine.clone();
    let (config, layers) = blocking(move || {
        let config = engine.image_config(&id)?;
        let layers = engine.image_layers(&id, &config)?;
        Ok((config, layers))
    })
    .await?;
    let layers = layers.iter().map(|diff_id| diff_id.hex()).collect();
    Ok((ImageForCreate { id, name: reference.to_owned(), config, layers }, lease))
}
