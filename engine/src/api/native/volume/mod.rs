//! The volumes service: one file per verb.

mod create;
mod filter;
mod list;
mod prune;

use cri_api::isula::v1::volumes_server::Volumes;
use cri_api::isula::v1::{
    CreateVolumeRequest, Empty, InspectResponse, ListVolumesRequest, ListVolumesResponse, PruneVolumesRequest,
    PruneVolumesResponse, RemoveVolumeRequest, Volume, VolumeRequest,
};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{ApiError, Native, peer};
use crate::clock::rfc3339;
use crate::domain::id::VolumeName;
use crate::journal::record::Context;
use crate::volume::VolumeError;

type Answer<T> = Result<Response<T>, Status>;

/// The only driver.
const LOCAL: &str = "local";

fn name(text: &str) -> Result<VolumeName, ApiError> {
    text.parse().map_err(|_| VolumeError::InvalidName { name: text.to_owned() }.into())
}

impl Native {
    /// With docker's keys.
    fn inspect_volume(&self, text: &str) -> Result<String, ApiError> {
        let name = name(text)?;
        let entity = self.engine.volumes.ledger().get(&name);
        let entity = entity.ok_or_else(|| VolumeError::NoSuchVolume { name: name.clone() })?;
        let volume = &entity.state;
        let value = json!({
            "CreatedAt": rfc3339(Some(volume.created_at)),
            "Driver": LOCAL,
            "Labels": volume.labels,
            "Mountpoint": self.engine.volumes.path(&name),
            "Name": name.as_str(),
            "Options": {},
            "Scope": "local",
        });
        Ok(value.to_string())
    }

    async fn remove_volume(&self, request: RemoveVolumeRequest, context: &Context) -> Result<(), ApiError> {
        match self.engine.volumes.remove(&name(&request.volume)?, context).await {
            Err(VolumeError::NoSuchVolume { .. }) if request.force => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}

#[tonic::async_trait]
impl Volumes for Native {
    async fn create(&self, request: Request<CreateVolumeRequest>) -> Answer<Volume> {
        let context = peer::context(&request);
        Ok(Response::new(self.create_volume(request.into_inner(), &context).await?))
    }

    async fn list(&self, request: Request<ListVolumesRequest>) -> Answer<ListVolumesResponse> {
        Ok(Response::new(self.list_volumes(&request.into_inner()).await?))
    }

    async fn inspect(&self, request: Request<VolumeRequest>) -> Answer<InspectResponse> {
        Ok(Response::new(InspectResponse { json: self.inspect_volume(&request.into_inner().volume)? }))
    }

    async fn remove(&self, request: Request<RemoveVolumeRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        self.remove_volume(request.into_inner(), &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn prune(&self, request: Request<PruneVolumesRequest>) -> Answer<PruneVolumesResponse> {
        let context = peer::context(&request);
        Ok(Response::new(self.prune_volumes(&request.into_inner(), &context).await?))
    }
}
