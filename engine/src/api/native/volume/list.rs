//! List: from the projection; the users of volumes are known from the definitions of containers.

use std::sync::Arc;

use cri_api::isula::v1::{ListVolumesRequest, ListVolumesResponse, Volume};

use super::LOCAL;
use super::filter::Filters;
use crate::api::native::container::nanoseconds;
use crate::api::native::{ApiError, Native, limits};
use crate::volume::records::Entity;

impl Native {
    pub(super) async fn list_volumes(&self, request: &ListVolumesRequest) -> Result<ListVolumesResponse, ApiError> {
        limits::filters(&request.filters)?;
        let filters = Filters::parse(&request.filters)?;
        let all = self.engine.volumes.ledger().snapshot();
        let wanted = all.values().filter(|entity| filters.matches(&entity.state)).cloned().collect();
        let mut volumes = self.volumes_shown(wanted).await?;
        volumes.retain(|volume| filters.matches_use(!volume.containers.is_empty()));
        Ok(ListVolumesResponse { volumes })
    }

    /// The volumes as clients get them, in the same order.
    pub(super) async fn volumes_shown(&self, entities: Vec<Arc<Entity>>) -> Result<Vec<Volume>, ApiError> {
        let known = self.engine.volumes.clone();
        // Definitions are read from files the first time; that must not hold up other requests.
        let showing = tokio::task::spawn_blocking(move || {
            let users = known.users(entities.iter().map(|entity| &entity.state.name));
            let show = |entity: &Arc<Entity>| {
                let volume = &entity.state;
                let containers = users.get(&volume.name).into_iter().flatten().map(ToString::to_string).collect();
                Volume {
                    name: volume.name.to_string(),
                    driver: LOCAL.to_owned(),
                    mountpoint: known.path(&volume.name).to_string_lossy().into_owned(),
                    created_at: nanoseconds(volume.created_at),
                    labels: volume.labels.clone().into_iter().collect(),
                    anonymous: volume.anonymous,
                    containers,
                }
            };
            entities.iter().map(show).collect()
        });
        showing.await.map_err(|panic| ApiError::failed(panic.to_string()))
    }
}
