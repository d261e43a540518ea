//! Clients of the daemon's API, each over a connection of its own.

use cri_api::isula::v1::containers_client::ContainersClient;
use cri_api::isula::v1::execs_client::ExecsClient;
use cri_api::isula::v1::files_client::FilesClient;
use cri_api::isula::v1::images_client::ImagesClient;
use cri_api::isula::v1::system_client::SystemClient;
use cri_api::isula::v1::usage_client::UsageClient;
use cri_api::isula::v1::volumes_client::VolumesClient;
use tonic::transport::{Channel, Endpoint};

use super::Node;

impl Node {
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.calls.block_on(future)
    }

    /// The calls about containers, over a connection of their own.
    pub fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about processes within containers, over a connection of their own.
    pub fn execs(&self) -> ExecsClient<Channel> {
        ExecsClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about images, over a connection of their own.
    pub fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about volumes, over a connection of their own.
    pub fn volumes(&self) -> VolumesClient<Channel> {
        VolumesClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about containers' files, over a connection of their own.
    pub fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about containers' use of resources, over a connection of their own.
    pub fn usage(&self) -> UsageClient<Channel> {
        UsageClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about the daemon, over a connection of their own.
    pub fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// A connection of its own, for further clients.
    pub fn channel(&self) -> Channel {
        let _context = self.calls.enter();
        let origin = tonic::codegen::http::Uri::from_static("http://localhost");
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket().display())).expect("the path is short");
        endpoint.origin(origin).connect_lazy()
    }
}
