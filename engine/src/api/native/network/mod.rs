//! The networks service: one file per verb.

mod create;
mod list;
mod remove;

use cri_api::isula::v1::networks_server::Networks;
use cri_api::isula::v1::{
    CreateNetworkRequest, CreateNetworkResponse, Empty, InspectResponse, ListNetworksRequest, ListNetworksResponse,
    NetworkRequest,
};
use tonic::{Request, Response, Status};

use super::{ApiError, Native};
use crate::network::bridge;
use crate::network::conf::Confs;
use crate::panics::contained;

type Answer<T> = Result<Response<T>, Status>;

impl Native {
    /// The present content of the directory of configurations.
    pub(super) async fn confs(&self) -> Result<Confs, ApiError> {
        let dir = self.engine.networks.settings.conf_dir.clone();
        let reading = tokio::task::spawn_blocking(move || Confs::read(&dir));
        reading.await.map_err(|panic| ApiError::failed(panic.to_string()))
    }

    /// The conflist itself.
    async fn inspect_network(&self, name: &str) -> Result<String, ApiError> {
        Ok(bridge::find(&self.confs().await?, name)?.conf.list.to_string())
    }
}

/// In a task of its own: a cancelled caller must not let the next one in before the work is done.
async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(contained(work)).await.map_err(|panic| ApiError::failed(panic.to_string()))?
}

#[tonic::async_trait]
impl Networks for Native {
    async fn create(&self, request: Request<CreateNetworkRequest>) -> Answer<CreateNetworkResponse> {
        Ok(Response::new(finished(self.clone().create_network(request.into_inner())).await?))
    }

    async fn list(&self, request: Request<ListNetworksRequest>) -> Answer<ListNetworksResponse> {
        Ok(Response::new(self.list_networks(&request.into_inner()).await?))
    }

    async fn inspect(&self, request: Request<NetworkRequest>) -> Answer<InspectResponse> {
        Ok(Response::new(InspectResponse { json: self.inspect_network(&request.into_inner().name).await? }))
    }

    async fn remove(&self, request: Request<NetworkRequest>) -> Answer<Empty> {
        finished(self.clone().remove_network(request.into_inner().name)).await?;
        Ok(Response::new(Empty {}))
    }
}
