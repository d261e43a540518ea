//! Calls of the API itself, beside `isula`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cri_api::isula::v1::containers_client::ContainersClient;
use cri_api::isula::v1::system_client::SystemClient;
use cri_api::isula::v1::volumes_client::VolumesClient;
use cri_api::isula::v1::{
    ContainerRequest, ContainerSummary, Empty, Event, EventsRequest, InfoResponse, ListRequest, ListVolumesRequest,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// For one call. Only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub(crate) struct Wire {
    socket: PathBuf,
    calls: tokio::runtime::Runtime,
}

impl Wire {
    pub(crate) fn new(socket: PathBuf) -> anyhow::Result<Self> {
        let calls = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { socket, calls })
    }

    fn channel(&self) -> Channel {
        let _context = self.calls.enter();
        let origin = tonic::codegen::http::Uri::from_static("http://localhost");
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket.display())).expect("the path is short");
        endpoint.origin(origin).connect_lazy()
    }

    fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    fn call<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let timely = async { tokio::time::timeout(PATIENCE, call).await };
        self.calls.block_on(timely).unwrap_or_else(|_| Err(Status::deadline_exceeded("the call hangs")))
    }

    pub(crate) fn info(&self) -> Result<InfoResponse, Status> {
        let mut client = self.system();
        self.call(async { client.info(Empty {}).await.map(tonic::Response::into_inner) })
    }

    /// The answer of a daemon, which may have to be started first; `None` when none comes.
    pub(crate) fn info_at_last(&self, patience: Duration) -> Option<InfoResponse> {
        let end = Instant::now() + patience;
        loop {
            match self.info() {
                Ok(info) => return Some(info),
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                Err(_) => return None,
            }
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<ContainerSummary>, Status> {
        let mut client = self.containers();
        let request = ListRequest { all: true, ..ListRequest::default() };
        self.call(async { client.list(request).await.map(|answer| answer.into_inner().containers) })
    }

    pub(crate) fn inspect(&self, id: &str) -> Result<serde_json::Value, Status> {
        let mut client = self.containers();
        let request = ContainerRequest { container: id.to_owned() };
        let json = self.call(async { client.inspect(request).await.map(|answer| answer.into_inner().json) })?;
        serde_json::from_str(&json).map_err(|error| Status::internal(error.to_string()))
    }

    pub(crate) fn volumes(&self) -> Result<Vec<String>, Status> {
        let _context = self.calls.enter();
        let mut client = VolumesClient::new(self.channel());
        let answer = self.call(async { client.list(ListVolumesRequest::default()).await })?;
        Ok(answer.into_inner().volumes.into_iter().map(|volume| volume.name).collect())
    }

    /// The events of these numbers.
    pub(crate) fn events(&self, from: u64, to: u64) -> Result<Vec<Event>, Status> {
        if from > to {
            return Ok(vec![]);
        }
        let mut client = self.system();
        let request = EventsRequest { since_seq: from, until_seq: to, ..EventsRequest::default() };
        self.call(async {
            let mut stream = client.events(request).await?.into_inner();
            let mut events = Vec::new();
            while let Some(event) = stream.message().await? {
                events.push(event);
            }
            Ok(events)
        })
    }

    /// Gives every event from this number on, until the daemon is gone or no more is wanted.
    pub(crate) fn follow(&self, since: u64, mut take: impl FnMut(Event), is_over: impl Fn() -> bool) {
        let mut client = self.system();
        let request = EventsRequest { follow: true, since_seq: since, ..EventsRequest::default() };
        let following = async {
            let Ok(stream) = client.events(request).await else { return };
            let mut stream = stream.into_inner();
            while !is_over() {
                match tokio::time::timeout(Duration::from_millis(200), stream.message()).await {
                    Ok(Ok(Some(event))) => take(event),
                    Ok(Ok(None) | Err(_)) => return,
                    // Nothing has happened.
                    Err(_) => {}
                }
            }
        };
        self.calls.block_on(following);
    }
}
