//! A server on a socket, and calls to it by their paths.

use std::sync::Arc;

use cri_api::runtime;
use prost::Message;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::client::Grpc;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::fake::Fake;

/// A server with the fake services; ends with the runtime of its test.
pub(crate) struct Served {
    channel: Channel,
    _directory: TempDir,
}

impl Served {
    pub(crate) fn start(fake: Fake) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let incoming = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
        let fake = Arc::new(fake);
        let routes = runtime::add_services(Routes::default(), fake.clone(), fake);
        tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming));
        let endpoint = Endpoint::try_from(format!("unix://{}", path.display())).unwrap();
        Self { channel: endpoint.connect_lazy(), _directory: directory }
    }

    /// Calls a method with one answer, `Service/Method` of `runtime.<version>`.
    pub(crate) async fn call<Q, A>(&self, version: &str, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.unwrap();
        let path = format!("/runtime.{version}.{method}").parse().unwrap();
        let answer = grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    }

    /// Code and message with which a method refuses an empty request.
    pub(crate) async fn refusal(&self, version: &str, method: &str) -> (Code, String) {
        let refused = self.call::<(), ()>(version, method, ()).await.expect_err(method);
        (refused.code(), refused.message().to_owned())
    }
}
