//! The image that a new container is to be made of.

use super::image::ImageForCreate;
use crate::api::native::{ApiError, Native};
use crate::image::reference::Reference;
use crate::image::{ImageLease, stack};

impl Native {
    /// What is needed of the image, and the promise that it stays until the container is recorded as its user.
    pub(super) async fn image_for_create(&self, reference: &str) -> Result<(ImageForCreate, ImageLease), ApiError> {
        let engine = self.engine.clone();
        engine.image_store.ready().await;
        if let Ok(name) = reference.parse::<Reference>() {
            engine.provide_built_in(&name).await?;
        }
        let id = engine.find_image(reference)?.image.id;
        let lease = engine.image_leases.lease(id)?;
        // Again: it may have gone before the lease.
        engine.find_image(&id.to_string())?;
        let reading = tokio::task::spawn_blocking(move || engine.image_config(&id));
        let config = reading.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        let layers = stack(&config.diff_ids).iter().map(|diff_id| diff_id.hex()).collect();
        Ok((ImageForCreate { id, name: reference.to_owned(), config, layers }, lease))
    }
}
