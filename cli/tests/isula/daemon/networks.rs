//! The daemon's part about networks.

use cri_api::isula::v1::networks_server::Networks;
use cri_api::isula::v1::*;
use tonic::{Request, Response, Status};

use super::Part;

#[tonic::async_trait]
impl Networks for Part {
    async fn create(&self, request: Request<CreateNetworkRequest>) -> Result<Response<CreateNetworkResponse>, Status> {
        self.record("CreateNetwork", request.get_ref());
        let name = request.into_inner().name;
        let name = if name.is_empty() { "net-1".to_owned() } else { name };
        Ok(Response::new(CreateNetworkResponse { name }))
    }

    async fn list(&self, request: Request<ListNetworksRequest>) -> Result<Response<ListNetworksResponse>, Status> {
        self.record("ListNetworks", request.get_ref());
        Ok(Response::new(self.script.networks.clone()))
    }

    async fn inspect(&self, request: Request<NetworkRequest>) -> Result<Response<InspectResponse>, Status> {
        let name = request.into_inner().name;
        self.record("InspectNetwork", &name);
        match self.script.network_details.get(&name) {
            Some(json) => Ok(Response::new(InspectResponse { json: json.clone() })),
            None => Err(Status::not_found(format!("No such network: {name}"))),
        }
    }

    async fn remove(&self, request: Request<NetworkRequest>) -> Result<Response<Empty>, Status> {
        self.record("RemoveNetwork", request.get_ref());
        self.about(&request.get_ref().name)?;
        Ok(Response::new(Empty {}))
    }
}
