//! The daemon's part: answers by script, remembers every request.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::containers_server::{Containers, ContainersServer};
use cri_api::isula::v1::execs_server::ExecsServer;
use cri_api::isula::v1::images_server::ImagesServer;
use cri_api::isula::v1::networks_server::NetworksServer;
use cri_api::isula::v1::system_server::{System, SystemServer};
use cri_api::isula::v1::volumes_server::VolumesServer;
use cri_api::isula::v1::*;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt, iter};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

mod execs;
mod images;
mod networks;
mod volumes;

pub(crate) use execs::Executed;
pub(crate) use images::{DIGEST, Received, Upload, layer, piece};

/// Long enough for the slowest machine; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) type Items<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The daemon's behaviour on an attached stream.
#[derive(Clone, Default)]
pub(crate) enum Attached {
    /// These messages, then the end of the stream.
    #[default]
    Nothing,
    Play(Vec<Output>),
    /// Sends stdin back; exits with 0 when it is closed.
    Echo,
    /// Starts, then exits with 128 + the first signal sent by `Kill`.
    UntilKilled,
    /// Waits for a `Kill`-less go-ahead before it starts; then as `UntilKilled`.
    StartsLate,
    /// Writes for ever.
    Flood,
}

#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Containers with the message that refuses every request about them.
    pub refused: HashMap<String, String>,
    pub containers: Vec<ContainerSummary>,
    pub failure: Option<StartFailure>,
    pub warnings: Vec<String>,
    pub waited: ExitStatus,
    /// By container: the JSON of `inspect`.
    pub details: HashMap<String, String>,
    pub logs: Vec<LogPiece>,
    pub events: Vec<Event>,
    pub info: InfoResponse,
    pub attached: Attached,
    /// The code of a daemon's refusal to kill a container that has ended.
    pub ended: Option<Code>,
    pub executed: Executed,
    /// Images that are not here until they are pulled.
    pub missing: Vec<String>,
    pub pulled: Vec<PullProgress>,
    /// After `pulled`, nothing more: the stream stays open.
    pub stalled: bool,
    pub upload: Upload,
    pub loaded: Vec<LoadProgress>,
    pub saved: Vec<Piece>,
    pub images: Vec<ImageSummary>,
    pub history: Vec<HistoryEntry>,
    /// By image and by volume: the JSON of `inspect`.
    pub image_details: HashMap<String, String>,
    pub volume_details: HashMap<String, String>,
    pub volumes: Vec<Volume>,
    pub networks: ListNetworksResponse,
    /// By network: the JSON of `inspect`.
    pub network_details: HashMap<String, String>,
}

pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Part {
    script: Script,
    asked: Mutex<Sender<String>>,
    go_ahead: Arc<Notify>,
    killed: Arc<Mutex<String>>,
    kill: Arc<Notify>,
    pulled: Mutex<Vec<String>>,
}

/// A running daemon; gone when dropped.
pub(crate) struct Daemon {
    directory: tempfile::TempDir,
    asked: Receiver<String>,
    go_ahead: Arc<Notify>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Daemon {
    pub(crate) fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, asked) = channel();
        let go_ahead = Arc::new(Notify::new());
        let part = Arc::new(Part {
            script,
            asked: Mutex::new(sender),
            go_ahead: go_ahead.clone(),
            killed: Arc::default(),
            kill: Arc::default(),
            pulled: Mutex::default(),
        });
        // Bound before this returns, so that no test has to wait for the socket.
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(directory.path().join("socket")).unwrap()
        };
        let server = Server::builder()
            .add_service(ContainersServer::from_arc(part.clone()))
            .add_service(SystemServer::from_arc(part.clone()))
            .add_service(ExecsServer::from_arc(part.clone()))
            .add_service(ImagesServer::from_arc(part.clone()))
            .add_service(NetworksServer::from_arc(part.clone()))
            .add_service(VolumesServer::from_arc(part))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        Self { directory, asked, go_ahead, runtime: Some(runtime) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// All that was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }

    /// Waits for the next request that begins so, and returns it.
    pub(crate) fn wait_for(&self, beginning: &str) -> String {
        loop {
            let asked = self.asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no such request: {beginning}"));
            if asked.starts_with(beginning) {
                return asked;
            }
        }
    }

    pub(crate) fn go_ahead(&self) {
        self.go_ahead.notify_one();
    }

    /// As `kill -9` does: connections close without a message.
    pub(crate) fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Part {
    fn record<T: std::fmt::Debug>(&self, verb: &str, request: &T) {
        let _ = self.asked.lock().unwrap().send(format!("{verb} {request:?}"));
    }

    fn about(&self, container: &str) -> Result<(), Status> {
        match self.script.refused.get(container) {
            Some(message) => Err(Status::failed_precondition(message.clone())),
            None => Ok(()),
        }
    }

    /// As a daemon refuses to make a container of an image that is not here.
    fn image(&self, image: &str) -> Result<(), Status> {
        let missing = self.script.missing.iter().any(|missing| missing == image);
        if missing && !self.pulled.lock().unwrap().iter().any(|pulled| pulled == image) {
            return Err(Status::not_found(format!("No such image:{image}")));
        }
        Ok(())
    }

    async fn attach(
        &self,
        verb: &'static str,
        input: Streaming<AttachInput>,
    ) -> Result<Response<Items<AttachOutput>>, Status> {
        let mut input = input;
        let Some(AttachInput { input: Some(Input::Open(open)) }) = input.message().await? else {
            return Err(Status::invalid_argument("the first message must be open"));
        };
        self.record(verb, &open);
        self.about(&open.container)?;
        self.play(input, false)
    }

    fn play(&self, input: Streaming<AttachInput>, made: bool) -> Result<Response<Items<AttachOutput>>, Status> {
        let (to_client, outputs) = tokio::sync::mpsc::channel(4);
        let created = CreateResponse { id: ID.into(), warnings: self.script.warnings.clone() };
        let asked = self.asked.lock().unwrap().clone();
        let (script, kill, killed) = (self.script.attached.clone(), self.kill.clone(), self.killed.clone());
        let go_ahead = self.go_ahead.clone();
        tokio::spawn(async move {
            let say = async |output| to_client.send(Ok(AttachOutput { output: Some(output) })).await.is_ok();
            let until_killed = async |mut input: Streaming<AttachInput>| {
                loop {
                    tokio::select! {
                        () = kill.notified() => break,
                        Ok(Some(message)) = input.message() => {
                            let received = message.input.unwrap();
                            let _ = asked.send(format!("Input {received:?}"));
                            if matches!(received, Input::Detach(_)) {
                                return false;
                            }
                        }
                    }
                }
                let signal: i32 = killed.lock().unwrap().parse().unwrap();
                say(exited(128 + signal)).await
            };
            if made {
                say(Output::Created(created)).await;
            }
            match script {
                Attached::Nothing => {}
                Attached::Play(outputs) => {
                    for output in outputs {
                        say(output).await;
                    }
                }
                Attached::Echo => {
                    say(Output::Started(AttachStarted::default())).await;
                    let mut input = input;
                    while let Ok(Some(message)) = input.message().await {
                        match message.input {
                            Some(Input::Stdin(bytes)) => say(Output::Stdout(bytes)).await,
                            Some(Input::StdinClosed(_)) => break,
                            _ => true,
                        };
                    }
                    say(exited(0)).await;
                }
                Attached::UntilKilled => {
                    say(Output::Started(AttachStarted::default())).await;
                    until_killed(input).await;
                }
                Attached::StartsLate => {
                    go_ahead.notified().await;
                    say(Output::Started(AttachStarted::default())).await;
                    until_killed(input).await;
                }
                Attached::Flood => while say(Output::Stdout(vec![b'y'; 4096])).await {},
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outputs))))
    }
}

pub(crate) fn exited(code: i32) -> Output {
    Output::Exited(ExitStatus { code: Some(code), ..ExitStatus::default() })
}

#[tonic::async_trait]
impl Containers for Part {
    type RunAttachedStream = Items<AttachOutput>;
    type StartAttachedStream = Items<AttachOutput>;
    type AttachStream = Items<AttachOutput>;
    type LogsStream = Items<LogBatch>;

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        self.record("Create", request.get_ref());
        self.about(&request.get_ref().name)?;
        self.image(&request.get_ref().image)?;
        Ok(Response::new(CreateResponse { id: ID.into(), warnings: self.script.warnings.clone() }))
    }

    async fn run(&self, request: Request<CreateRequest>) -> Result<Response<RunResponse>, Status> {
        self.record("Run", request.get_ref());
        self.about(&request.get_ref().name)?;
        self.image(&request.get_ref().image)?;
        let Script { warnings, failure, .. } = self.script.clone();
        Ok(Response::new(RunResponse { id: ID.into(), warnings, failure }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        self.record("Start", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(StartResponse {
            failure: self.script.failure.clone(),
            warnings: self.script.warnings.clone(),
        }))
    }

    async fn run_attached(
        &self,
        request: Request<Streaming<AttachInput>>,
    ) -> Result<Response<Items<AttachOutput>>, Status> {
        let mut input = request.into_inner();
        let Some(AttachInput { input: Some(Input::Run(run)) }) = input.message().await? else {
            return Err(Status::invalid_argument("the first message must be run"));
        };
        let create = run.create.unwrap_or_default();
        self.record("RunCreate", &create);
        self.about(&create.name)?;
        self.image(&create.image)?;
        let open = run.open.unwrap_or_default();
        self.record("RunAttached", &open);
        self.play(input, true)
    }

    async fn start_attached(
        &self,
        request: Request<Streaming<AttachInput>>,
    ) -> Result<Response<Items<AttachOutput>>, Status> {
        self.attach("StartAttached", request.into_inner()).await
    }

    async fn attach(&self, request: Request<Streaming<AttachInput>>) -> Result<Response<Items<AttachOutput>>, Status> {
        Part::attach(self, "Attach", request.into_inner()).await
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        self.record("Update", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(UpdateResponse::default()))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        self.record("Kill", &request);
        self.about(&request.container)?;
        if let Some(code) = self.script.ended {
            return Err(Status::new(code, "it has ended"));
        }
        *self.killed.lock().unwrap() = request.signal;
        self.kill.notify_one();
        Ok(Response::new(Empty {}))
    }

    async fn pause(&self, request: Request<ContainerRequest>) -> Result<Response<Empty>, Status> {
        self.record("Pause", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(Empty {}))
    }

    async fn unpause(&self, request: Request<ContainerRequest>) -> Result<Response<Empty>, Status> {
        self.record("Unpause", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(Empty {}))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<Empty>, Status> {
        self.record("Stop", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(Empty {}))
    }

    async fn restart(&self, request: Request<RestartRequest>) -> Result<Response<Empty>, Status> {
        self.record("Restart", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(Empty {}))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<Empty>, Status> {
        self.record("Remove", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(Empty {}))
    }

    async fn rename(&self, request: Request<RenameRequest>) -> Result<Response<Empty>, Status> {
        self.record("Rename", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(Empty {}))
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Result<Response<Empty>, Status> {
        self.record("Resize", request.get_ref());
        Ok(Response::new(Empty {}))
    }

    async fn wait(&self, request: Request<ContainerRequest>) -> Result<Response<WaitResponse>, Status> {
        self.record("Wait", request.get_ref());
        self.about(&request.get_ref().container)?;
        Ok(Response::new(WaitResponse { status: Some(self.script.waited.clone()) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.record("List", request.get_ref());
        Ok(Response::new(ListResponse { containers: self.script.containers.clone() }))
    }

    async fn inspect(&self, request: Request<ContainerRequest>) -> Result<Response<InspectResponse>, Status> {
        let container = request.into_inner().container;
        self.record("Inspect", &container);
        match self.script.details.get(&container) {
            Some(json) => Ok(Response::new(InspectResponse { json: json.clone() })),
            None => Err(Status::not_found(format!("No such image or container or accelerator:{container}"))),
        }
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Items<LogBatch>>, Status> {
        self.record("Logs", request.get_ref());
        self.about(&request.get_ref().container)?;
        let batches = self.script.logs.iter().map(|piece| Ok(LogBatch { pieces: vec![piece.clone()] }));
        Ok(Response::new(Box::pin(iter(batches.collect::<Vec<_>>()))))
    }
}

#[tonic::async_trait]
impl System for Part {
    type EventsStream = Items<Event>;

    async fn info(&self, _: Request<Empty>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(self.script.info.clone()))
    }

    async fn version(&self, _: Request<Empty>) -> Result<Response<VersionResponse>, Status> {
        let word = str::to_owned;
        Ok(Response::new(VersionResponse {
            version: word("9.8.7"),
            git_commit: word("abc"),
            built: String::new(),
            api_version: word("v1"),
        }))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Items<Event>>, Status> {
        self.record("Events", request.get_ref());
        Ok(Response::new(Box::pin(iter(self.script.events.clone()).map(Ok))))
    }
}
