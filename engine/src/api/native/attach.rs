//! Attached clients: frames of the shim's socket on one side, the gRPC stream on the other. The daemon only passes
//! bytes on, in both directions, as fast as the slower side takes them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, Empty, ExitStatus, StartFailure, WindowSize};
use isulad_shim::control::Streams;
use isulad_shim::{Frame, Request as ShimRequest};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::container::{Begun, ending, exit_status};
use super::status::Verb;
use super::{ApiError, Native};
use crate::domain::container::{End, Event, Rejection};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;
use crate::journal::record::Context;
use crate::projection::Told;
use crate::shim_process;

type Sender = mpsc::Sender<Result<AttachOutput, Status>>;

/// Messages in flight to a client: the shim's own buffer comes on top.
const IN_FLIGHT: usize = 16;
/// How long a client waits for a container that removes itself.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);
/// An exit that the shim has told is recorded soon after.
const EXIT_PATIENCE: Duration = Duration::from_secs(60);

impl Native {
    /// `start`: begin the container with this client attached from the first byte.
    pub(super) async fn attach_streams(
        &self,
        mut input: Streaming<AttachInput>,
        start: bool,
        context: Context,
    ) -> Result<ReceiverStream<Result<AttachOutput, Status>>, ApiError> {
        let open = match input.next().await {
            Some(Ok(AttachInput { input: Some(Input::Open(open)) })) => open,
            _ => return Err(ApiError::invalid("the first message of an attach must be `open`")),
        };
        let id = self
            .engine
            .containers
            .resolve(&open.container)
            .map_err(|error| ApiError::of_resolve(error, &open.container))?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let told = self.engine.containers.listen(id);
        let (stream, start) = if start {
            match self.connect_by_start(id, &open, &context).await? {
                Ok(connected) => connected,
                Err(failure) => {
                    let _ = sender.send(Ok(wrap(Output::Failed(failure)))).await;
                    return Ok(ReceiverStream::new(receiver));
                }
            }
        } else {
            self.connect_to_running(id, &open).await?
        };
        let entity = self.engine.containers.get(&id);
        let removes_itself = entity.is_none_or(|entity| entity.container.card.auto_remove);
        let session = Session { sender, told, start, removes_itself };
        tokio::spawn(session.relay(stream, input, open));
        Ok(ReceiverStream::new(receiver))
    }

    async fn connect_by_start(
        &self,
        id: ContainerId,
        open: &AttachOpen,
        context: &Context,
    ) -> Result<Result<(UnixStream, StartId), StartFailure>, ApiError> {
        let pair = std::os::unix::net::UnixStream::pair()
            .map_err(|error| ApiError::failed(format!("cannot make a socket pair: {error}")))?;
        let (ours, theirs) = pair;
        match self.begin(&open.container, Some(OwnedFd::from(theirs)), context).await? {
            Begun::Started(start) => Ok(Ok((into_tokio(ours)?, start))),
            Begun::Failed(failure) => Ok(Err(failure)),
            // Nothing was started for this client: it joins like anybody else.
            Begun::Already => self.connect_to_running(id, open).await.map(Ok),
        }
    }

    async fn connect_to_running(&self, id: ContainerId, open: &AttachOpen) -> Result<(UnixStream, StartId), ApiError> {
        let reference = &open.container;
        let rejected = |rejection| ApiError::Rejected { verb: Verb::Attach, reference: reference.clone(), rejection };
        let entity = self
            .engine
            .containers
            .get(&id)
            .ok_or_else(|| ApiError::NoSuchContainer { reference: reference.clone() })?;
        let start = entity.container.phase.run().map(|run| run.start).ok_or_else(|| rejected(Rejection::NotRunning))?;
        let mut stream = connect(&self.engine, id).await?;
        let mut hello = Vec::new();
        let wanted = Streams { stdin: open.stdin, stdout: open.stdout, stderr: open.stderr };
        ShimRequest::Hello(wanted).encode(&mut hello);
        stream.write_all(&hello).await.map_err(|error| ApiError::failed(format!("cannot attach: {error}")))?;
        Ok((stream, start))
    }

    pub(super) async fn resize_container(&self, reference: &str, size: WindowSize) -> Result<(), ApiError> {
        let id = self.engine.containers.resolve(reference).map_err(|error| ApiError::of_resolve(error, reference))?;
        let running = self.engine.containers.get(&id).is_some_and(|entity| entity.container.phase.run().is_some());
        if !running {
            let rejection = Rejection::NotRunning;
            return Err(ApiError::Rejected { verb: Verb::Resize, reference: reference.to_owned(), rejection });
        }
        let (width, height) = dimensions(size)?;
        let mut stream = connect(&self.engine, id).await?;
        let mut bytes = Vec::new();
        ShimRequest::Resize { width, height }.encode(&mut bytes);
        let answered = async {
            stream.write_all(&bytes).await?;
            shim_process::read_frame(&mut stream).await
        };
        match tokio::time::timeout(Duration::from_secs(10), answered).await {
            Ok(Ok(Some(Frame::Ack(_)))) => Ok(()),
            Ok(Ok(Some(Frame::Error(_, message)))) => Err(ApiError::failed(message)),
            Ok(Ok(_)) => Err(ApiError::failed("the shim left without an answer")),
            Ok(Err(error)) => Err(ApiError::failed(format!("cannot resize: {error}"))),
            Err(_) => Err(ApiError::Deadline { message: "the shim does not answer".to_owned() }),
        }
    }
}

async fn connect(engine: &Arc<Engine>, id: ContainerId) -> Result<UnixStream, ApiError> {
    let entity = engine.containers.get(&id).ok_or_else(|| ApiError::NoSuchContainer { reference: id.to_string() })?;
    let state = engine.state_dir(&entity.container);
    shim_process::connect(&state)
        .await
        .map_err(|error| ApiError::failed(format!("cannot reach the shim of container {}: {error}", id.short())))
}

fn into_tokio(stream: std::os::unix::net::UnixStream) -> Result<UnixStream, ApiError> {
    let made = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
    made.map_err(|error| ApiError::failed(format!("cannot use a socket: {error}")))
}

fn dimensions(size: WindowSize) -> Result<(u16, u16), ApiError> {
    let fit = |n: u32| u16::try_from(n).ok();
    match (fit(size.width), fit(size.height)) {
        (Some(width), Some(height)) => Ok((width, height)),
        _ => Err(ApiError::invalid(format!("a window of {} by {} is too large", size.width, size.height))),
    }
}

/// One attached client.
struct Session {
    sender: Sender,
    told: mpsc::UnboundedReceiver<Told>,
    start: StartId,
    removes_itself: bool,
}

impl Session {
    async fn relay(mut self, stream: UnixStream, input: Streaming<AttachInput>, open: AttachOpen) {
        if self.sender.send(Ok(wrap(Output::Started(Empty {})))).await.is_err() {
            return;
        }
        let (mut from_shim, to_shim) = stream.into_split();
        let feeding = tokio::spawn(feed(input, to_shim, open.clone()));
        let mut told_exit = false;
        loop {
            let frame = tokio::select! {
                frame = shim_process::read_frame(&mut from_shim) => frame,
                // The client is gone: nothing more to do for it.
                () = self.sender.closed() => break,
            };
            let output = match frame {
                Ok(Some(Frame::Stdout(bytes))) if open.stdout => Output::Stdout(bytes),
                Ok(Some(Frame::Stderr(bytes))) if open.stderr => Output::Stderr(bytes),
                Ok(Some(Frame::Exit(_))) => {
                    told_exit = true;
                    break;
                }
                Ok(Some(_)) => continue,
                Ok(None) | Err(_) => break,
            };
            if self.sender.send(Ok(wrap(output))).await.is_err() {
                break;
            }
        }
        feeding.abort();
        if !self.sender.is_closed() {
            self.finish(told_exit).await;
        }
    }

    /// What the journal says of the end, which is what everybody else is told too.
    async fn finish(&mut self, told_exit: bool) {
        let mut pick = ending(self.start);
        let waiting = async {
            while let Some(told) = self.told.recv().await {
                if let Some(end) = pick(&told.event) {
                    return Some(end);
                }
            }
            None
        };
        // Without the shim's word the container may well go on: the client is told so soon.
        let patience = if told_exit { EXIT_PATIENCE } else { Duration::from_secs(5) };
        let end: Option<End> = tokio::time::timeout(patience, waiting).await.ok().flatten();
        if end.is_some() && self.removes_itself {
            self.removed().await;
        }
        let last = match end {
            Some(end) => {
                let status: ExitStatus = exit_status(&end);
                Ok(wrap(Output::Exited(status)))
            }
            None => Err(Status::unavailable("the connection to the container was lost; it may be running still")),
        };
        let _ = self.sender.send(last).await;
    }
}

impl Session {
    /// A script that uses the name again at once must find it free.
    async fn removed(&mut self) {
        let removal = async {
            while let Some(told) = self.told.recv().await {
                // A restart takes it away from its removal.
                let settled =
                    matches!(told.event, Event::Removed | Event::RemoveFailed { .. } | Event::StartRequested { .. });
                if settled {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(REMOVAL_PATIENCE, removal).await;
    }
}

/// The client's input, until it ends. A half-close is passed on; a client that goes away closes nothing.
async fn feed(mut input: Streaming<AttachInput>, mut to_shim: OwnedWriteHalf, open: AttachOpen) {
    let mut bytes = Vec::new();
    if let Some(Ok((width, height))) = open.size.map(dimensions) {
        ShimRequest::Resize { width, height }.encode(&mut bytes);
    }
    loop {
        if !bytes.is_empty() && to_shim.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
        let Some(Ok(message)) = input.next().await else { break };
        let request = match message.input {
            Some(Input::Stdin(data)) if open.stdin => ShimRequest::Stdin(data),
            Some(Input::StdinClosed(_)) if open.stdin => ShimRequest::CloseStdin,
            Some(Input::Resize(size)) => match dimensions(size) {
                Ok((width, height)) => ShimRequest::Resize { width, height },
                Err(_) => continue,
            },
            Some(_) | None => continue,
        };
        request.encode(&mut bytes);
    }
    // Kept open: closing our half would be taken for the client's leaving, and output may still come.
    std::future::pending::<()>().await;
}

fn wrap(output: Output) -> AttachOutput {
    AttachOutput { output: Some(output) }
}
