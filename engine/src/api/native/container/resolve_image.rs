//! The image of a new container.

use super::image::ImageForCreate;
use crate::api::native::{ApiError, Native};
use crate::image::reference::Reference;
use crate::image::{ImageError, ImageLease};

impl Native {
    /// The image's settings, and a lease that keeps it until the container is recorded as its user.
    pub(super) async fn image_for_create(&self, reference: &str) -> Result<(ImageForCreate, ImageLease), ApiError> {
        let engine = self.engine.clone();
        engine.image_store.ready().await;
        if let Ok(name) = reference.parse::<Reference>() {
            engine.provide_built_in(&name).await?;
        }
        let id = engine.find_image(reference)?.state.id;
        let lease = engine.image_leases.lease(id)?;
        // Looked up again: it may have been removed before the lease.
        engine.find_image(&id.to_string())?;
        let reading = tokio::task::spawn_blocking(move || {
            let config = engine.image_config(&id)?;
            let layers = engine.image_layers(&id, &config)?;
            Ok::<_, ImageError>((config, layers))
        });
        let (config, layers) = reading.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        let layers = layers.iter().map(|diff_id| diff_id.hex()).collect();
        Ok((ImageForCreate { id, name: reference.to_owned(), config, layers }, lease))
    }
}
