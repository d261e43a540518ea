//! Attached clients of a container's first process. The daemon only passes bytes on, see [`relay`].

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
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::container::{Begun, ending, exit_status};
use super::relay::{self, Ended, IN_FLIGHT};
use super::status::Verb;
use super::{ApiError, Native};
use crate::domain::container::{End, Event, Rejection};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;
use crate::journal::record::Context;
use crate::projection::Told;
use crate::session::{Session, Size};
use crate::shim_process;

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
        let (session, start) = if start {
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
        let client = Client { sender, told, start, removes_itself };
        tokio::spawn(client.serve(session, input, open));
        Ok(ReceiverStream::new(receiver))
    }

    async fn connect_by_start(
        &self,
        id: ContainerId,
        open: &AttachOpen,
        context: &Context,
    ) -> Result<Result<(Session, StartId), StartFailure>, ApiError> {
        let pair = Session::pair();
        let (session, theirs) =
            pair.map_err(|error| ApiError::failed(format!("cannot make a socket pair: {error}")))?;
        choose(&session, open).await?;
        match self.begin(&open.container, Some(OwnedFd::from(theirs)), context).await? {
            Begun::Started(start) => Ok(Ok((session, start))),
            Begun::Failed(failure) => Ok(Err(failure)),
            // Nothing was started for this client: it joins like anybody else.
            Begun::Already => self.connect_to_running(id, open).await.map(Ok),
        }
    }

    async fn connect_to_running(&self, id: ContainerId, open: &AttachOpen) -> Result<(Session, StartId), ApiError> {
        let reference = &open.container;
        let rejected = |rejection| ApiError::Rejected { verb: Verb::Attach, reference: reference.clone(), rejection };
        let entity = self
            .engine
            .containers
            .get(&id)
            .ok_or_else(|| ApiError::NoSuchContainer { reference: reference.clone() })?;
        let start = entity.container.phase.run().map(|run| run.start).ok_or_else(|| rejected(Rejection::NotRunning))?;
        let session = Session::over(connect(&self.engine, id).await?);
        choose(&session, open).await?;
        Ok((session, start))
    }

    pub(super) async fn resize_container(&self, reference: &str, size: WindowSize) -> Result<(), ApiError> {
        let id = self.engine.containers.resolve(reference).map_err(|error| ApiError::of_resolve(error, reference))?;
        let running = self.engine.containers.get(&id).is_some_and(|entity| entity.container.phase.run().is_some());
        if !running {
            let rejection = Rejection::NotRunning;
            return Err(ApiError::Rejected { verb: Verb::Resize, reference: reference.to_owned(), rejection });
        }
        let Some(Size { width, height }) = Size::new(size.width, size.height) else {
            return Err(ApiError::invalid(format!("a window of {} by {} is no window", size.width, size.height)));
        };
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

async fn choose(session: &Session, open: &AttachOpen) -> Result<(), ApiError> {
    session.choose(wanted(open)).await.map_err(|error| ApiError::failed(format!("cannot attach: {error}")))
}

fn wanted(open: &AttachOpen) -> Streams {
    Streams { stdin: open.stdin, stdout: open.stdout, stderr: open.stderr }
}

/// One attached client.
struct Client {
    sender: relay::Sender<AttachOutput>,
    told: mpsc::UnboundedReceiver<Told>,
    start: StartId,
    removes_itself: bool,
}

impl Client {
    async fn serve(mut self, session: Session, input: Streaming<AttachInput>, open: AttachOpen) {
        if self.sender.send(Ok(wrap(Output::Started(Empty {})))).await.is_err() {
            return;
        }
        let (mut to_shim, from_shim) = session.split();
        if let Some(size) = open.size.and_then(|size| Size::new(size.width, size.height)) {
            // A shim that is gone already is noticed below.
            let _ = to_shim.resize(size).await;
        }
        match relay::pump((to_shim, from_shim), input, &self.sender, wanted(&open)).await {
            Ended::Exited(status) => self.finish(Some(status)).await,
            Ended::Lost => self.finish(None).await,
            Ended::ClientGone => {}
        }
    }

    /// What the journal says of the end, which is what everybody else is told too.
    async fn finish(&mut self, told: Option<isulad_shim::ExitStatus>) {
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
        let patience = if told.is_some() { EXIT_PATIENCE } else { Duration::from_secs(5) };
        let end: Option<End> = tokio::time::timeout(patience, waiting).await.ok().flatten();
        if let (Some(status), None) = (told, &end) {
            tracing::warn!(?status, "an exit that the shim has told is not recorded");
        }
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

fn wrap(output: Output) -> AttachOutput {
    AttachOutput { output: Some(output) }
}
