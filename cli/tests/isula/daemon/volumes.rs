//! The daemon's part about volumes.

use cri_api::isula::v1::volumes_server::Volumes;
use cri_api::isula::v1::*;
use tonic::{Request, Response, Status};

use super::Part;

#[tonic::async_trait]
impl Volumes for Part {
    async fn create(&self, request: Request<CreateVolumeRequest>) -> Result<Response<Volume>, Status> {
        self.record("CreateVolume", request.get_ref());
        let name = request.into_inner().name;
        let name = if name.is_empty() { "f".repeat(64) } else { name };
        Ok(Response::new(Volume { name, ..Volume::default() }))
    }

    async fn list(&self, request: Request<ListVolumesRequest>) -> Result<Response<ListVolumesResponse>, Status> {
        self.record("ListVolumes", request.get_ref());
        Ok(Response::new(ListVolumesResponse { volumes: self.script.volumes.clone() }))
    }

    async fn inspect(&self, request: Request<VolumeRequest>) -> Result<Response<InspectResponse>, Status> {
        let volume = request.into_inner().volume;
        self.record("InspectVolume", &volume);
        match self.script.volume_details.get(&volume) {
            Some(json) => Ok(Response::new(InspectResponse { json: json.clone() })),
            None => Err(Status::not_found(format!("No such volume:{volume}"))),
        }
    }

    async fn remove(&self, request: Request<RemoveVolumeRequest>) -> Result<Response<Empty>, Status> {
        self.record("RemoveVolume", request.get_ref());
        self.about(&request.get_ref().volume)?;
        Ok(Response::new(Empty {}))
    }

    async fn prune(&self, request: Request<PruneVolumesRequest>) -> Result<Response<PruneVolumesResponse>, Status> {
        self.record("PruneVolumes", request.get_ref());
        let deleted = if request.get_ref().all { vec!["v".to_owned(), "w".to_owned()] } else { vec![] };
        Ok(Response::new(PruneVolumesResponse { deleted, reclaimed: 7 }))
    }
}
