//! The connection to the daemon: one Unix socket, HTTP/2, the stubs of `isula.v1`.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cri_api::isula::v1::containers_client::ContainersClient;
use cri_api::isula::v1::execs_client::ExecsClient;
use cri_api::isula::v1::files_client::FilesClient;
use cri_api::isula::v1::images_client::ImagesClient;
use cri_api::isula::v1::networks_client::NetworksClient;
use cri_api::isula::v1::system_client::SystemClient;
use cri_api::isula::v1::usage_client::UsageClient;
use cri_api::isula::v1::volumes_client::VolumesClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::failure::Failure;

/// Reads come from memory: a daemon that takes longer is not going to answer. Changes have no deadline here, because
/// giving up on them would not undo them; the daemon has its own.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Bytes of one answer that may be on their way to us: a log or a file comes in large pieces, and each of less would
/// have to be asked for.
const WINDOW: u32 = 256 * 1024;
/// The window of all answers together. HTTP/2 as implemented here takes a peer for an attacker that has sent many small
/// pieces which are not read yet, by a budget that is half of this: each piece of less than 256 bytes costs the bytes
/// that it is short of 256. A window full of the smallest pieces, seven bytes each, costs 9.4 MB, so that a client
/// which is stopped at a talkative container keeps its connection.
const ALL_WINDOWS: u32 = 32 << 20;

/// A connected daemon.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to the socket at `path`. The error distinguishes a missing daemon from a forbidden socket.
    pub(crate) async fn connect(path: &Path) -> Result<Self, Failure> {
        let endpoint = endpoint(path).map_err(|error| no_server(path, &error))?;
        let channel = endpoint.connect().await.map_err(|error| no_server(path, &error))?;
        Ok(Self { channel })
    }

    /// The calls about containers. Messages may be large: a list of thousands, a profile in a request.
    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about processes within containers.
    pub(crate) fn execs(&self) -> ExecsClient<Channel> {
        ExecsClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about images.
    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about volumes.
    pub(crate) fn volumes(&self) -> VolumesClient<Channel> {
        VolumesClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about containers' files.
    pub(crate) fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about containers' use of resources.
    pub(crate) fn usage(&self) -> UsageClient<Channel> {
        UsageClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about networks.
    pub(crate) fn networks(&self) -> NetworksClient<Channel> {
        NetworksClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about the daemon.
    pub(crate) fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }
}

fn endpoint(path: &Path) -> Result<Endpoint, tonic::transport::Error> {
    // Other spellings of the authority are refused by some servers; the common clients send `localhost`.
    let origin = tonic::codegen::http::Uri::from_static("http://localhost");
    let endpoint = Endpoint::try_from(format!("unix://{}", path.display()))?.origin(origin);
    Ok(endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(ALL_WINDOWS))
}

fn no_server(path: &Path, error: &(dyn Error + 'static)) -> Failure {
    let path = path.display().to_string();
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::PermissionDenied
        {
            return Failure::Forbidden { path };
        }
        cause = current.source();
    }
    Failure::NoServer { path, reason: innermost(error) }
}

/// The text of the last cause in a chain: the one that names the fault rather than the layers above it.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Waits for the answer of a read, but not for ever.
pub(crate) async fn read<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    Ok(answer(call).await??)
}

/// Like [`read`], for callers that need the refusal's code and details.
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Result<T, Status>, Failure> {
    match tokio::time::timeout(READ_DEADLINE, call).await {
        Ok(answer) => Ok(answer.map(Response::into_inner)),
        Err(_) => Err(Failure::Silent(READ_DEADLINE)),
    }
}

/// The daemon's address, given to every command, with the means to connect when a call is needed.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
}

impl Daemon {
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket).await
    }
}
