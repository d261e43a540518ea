//! Create: one at a time, so that each chooses a free bridge and subnet.

use cri_api::isula::v1::{CreateNetworkRequest, CreateNetworkResponse};

use crate::api::native::{ApiError, Native};
use crate::network::bridge;
use crate::node::Trust;

impl Native {
    pub(super) async fn create_network(self, request: CreateNetworkRequest) -> Result<CreateNetworkResponse, ApiError> {
        self.may_change_networks()?;
        let engine = self.engine.clone();
        let _alone = engine.networks.changes.lock().await;
        let CreateNetworkRequest { name, driver, subnet, gateway, internal } = request;
        let request = bridge::Request { name, driver, subnet, gateway, internal };
        let of = engine.clone();
        let making = tokio::task::spawn_blocking(move || {
            bridge::create(&of.networks.settings, &of.networks.addresses, &request)
        });
        let name = making.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        tracing::info!(network = name, "network created");
        Ok(CreateNetworkResponse { name })
    }

    pub(super) fn may_change_networks(&self) -> Result<(), ApiError> {
        match self.engine.node.trust() {
            Trust::ReadOnly => Err(ApiError::failed("the store is of a newer format: nothing can be changed")),
            Trust::Whole | Trust::Partial => Ok(()),
        }
    }
}
