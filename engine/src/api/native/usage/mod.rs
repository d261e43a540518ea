//! The usage service: resource usage and processes of containers.

mod stats;
mod top;

use cri_api::isula::v1::usage_server::Usage;
use cri_api::isula::v1::{StatsRequest, StatsResponse, TopRequest, TopResponse};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Native;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Usage for Native {
    type StatsStream = ReceiverStream<Result<StatsResponse, Status>>;

    async fn top(&self, request: Request<TopRequest>) -> Answer<TopResponse> {
        let TopRequest { container, ps_options } = request.into_inner();
        Ok(Response::new(self.list_processes(&container, &ps_options).await?))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Answer<Self::StatsStream> {
        Ok(Response::new(self.stream_stats(request.into_inner()).await?))
    }
}
