//! Attached clients of a container's first process. The daemon only relays bytes, see [`super::relay`].

mod client;
mod guard;
mod resize;
mod resume;
mod run;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput};
use isulad_shim::control::{Follower, Streams};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use client::Client;
pub(super) use guard::AttachGuard;
use resume::SessionTarget;

use super::container::StartOutcome;
use super::relay::IN_FLIGHT;
use super::status::Verb;
use super::{ApiError, Native};
use crate::domain::container::Rejection;
use crate::domain::id::{ContainerId, StartId};
use crate::engine::{Engine, FirstClient};
use crate::journal::record::Context;
use crate::session::{Session, Size};
use crate::shim_process;

/// How long a shim that replaces a lost one may take to listen.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<ReceiverStream<Result<AttachOutput, Status>>, ApiError>;

impl Native {
    /// `start`: starts the container with this client attached from the first byte.
    pub(super) async fn attach_streams(
        &self,
        mut input: Streaming<AttachInput>,
        start: bool,
        context: Context,
    ) -> Answer {
        let open = match input.next().await {
            Some(Ok(AttachInput { input: Some(Input::Open(open)) })) => open,
            _ => return Err(ApiError::invalid("the first message of an attach must be `open`")),
        };
        if !(open.stdin || open.stdout || open.stderr) {
            return Err(ApiError::invalid("an attach must be to one of stdin, stdout and stderr at least"));
        }
        let native = self.clone();
        // Not cancelled when the client leaves: a recorded beginning needs its end recorded, too.
        let opening = tokio::spawn(async move { native.open_streams(input, open, start, context).await });
        opening.await.unwrap_or_else(|panic| Err(ApiError::failed(format!("cannot attach: {panic}"))))
    }

    async fn open_streams(
        &self,
        input: Streaming<AttachInput>,
        open: AttachOpen,
        start: bool,
        context: Context,
    ) -> Answer {
        let reference = &open.container;
        let id = self.engine.containers.resolve(reference).map_err(|error| ApiError::of_resolve(error, reference))?;
        let entity = self.engine.containers.get(&id);
        let entity = entity.ok_or_else(|| ApiError::NoSuchContainer { reference: reference.clone() })?;
        let card = &entity.state.card;
        let (tty, feeds, removes_itself) = (card.tty, open.stdin && card.open_stdin, card.auto_remove);
        let changes = self.engine.containers.listen(id);
        let mut guard = AttachGuard::new(&self.engine, &entity, &context, open.stdin, tty)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let (session, start, first) = if start {
            match self.connect_by_start(id, &open, &mut guard, &context).await? {
                Ok(connected) => connected,
                Err(failure) => {
                    let _ = sender.send(Ok(AttachOutput { output: Some(Output::Failed(failure)) })).await;
                    return Ok(ReceiverStream::new(receiver));
                }
            }
        } else {
            guard.begin(reference).await?;
            let (session, start) = self.connect_to_running(id, &open).await?;
            (session, start, false)
        };
        let warnings = if first { entity.take_warnings() } else { vec![] };
        let target = SessionTarget { engine: self.engine.clone(), id, start, wanted: wanted(&open), first, feeds };
        let client = Client::new(sender, changes, target, (tty, removes_itself), Some(guard));
        tokio::spawn(client.serve(session, input, open, warnings));
        Ok(ReceiverStream::new(receiver))
    }

    async fn connect_by_start(
        &self,
        id: ContainerId,
        open: &AttachOpen,
        guard: &mut AttachGuard,
        context: &Context,
    ) -> Result<Result<(Session, StartId, bool), cri_api::isula::v1::StartFailure>, ApiError> {
        let pair = Session::pair();
        let (session, theirs) =
            pair.map_err(|error| ApiError::failed(format!("cannot make a socket pair: {error}")))?;
        choose(&session, open).await?;
        let size = open.size.and_then(|size| Size::new(size.width, size.height));
        let client = FirstClient { socket: OwnedFd::from(theirs), size };
        match self.begin(&open.container, Some((client, guard)), context).await? {
            StartOutcome::Started(start) => Ok(Ok((session, start, true))),
            StartOutcome::Failed(failure) => Ok(Err(failure)),
            // The container ran already: the client joins like any other.
            StartOutcome::AlreadyRunning => {
                let (session, start) = self.connect_to_running(id, open).await?;
                Ok(Ok((session, start, false)))
            }
        }
    }

    async fn connect_to_running(&self, id: ContainerId, open: &AttachOpen) -> Result<(Session, StartId), ApiError> {
        let reference = &open.container;
        let (stream, start) = connect(&self.engine, id, (Verb::Attach, reference)).await?;
        let session = Session::over(stream);
        choose(&session, open).await?;
        Ok((session, start))
    }
}

/// Connects to the shim of a running container. A lost shim is replaced within moments: that is waited for.
async fn connect(
    engine: &Arc<Engine>,
    id: ContainerId,
    (verb, reference): (Verb, &str),
) -> Result<(UnixStream, StartId), ApiError> {
    let deadline = tokio::time::Instant::now() + ADOPTION_PATIENCE;
    loop {
        let entity = engine.containers.get(&id);
        let entity = entity.ok_or_else(|| ApiError::NoSuchContainer { reference: reference.to_owned() })?;
        let Some(run) = entity.state.phase.run() else {
            let rejection = Rejection::NotRunning;
            return Err(ApiError::Rejected { verb, reference: reference.to_owned(), rejection });
        };
        let error = match shim_process::connect(&engine.state_dir(&entity.state)).await {
            Ok(stream) => return Ok((stream, run.start)),
            Err(error) => error,
        };
        let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        let changed = engine.containers.changed_since(&id, entity.state.version);
        if !absent || tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Err(ApiError::failed(format!("cannot reach the shim of container {reference}: {error}")));
        }
    }
}

async fn choose(session: &Session, open: &AttachOpen) -> Result<(), ApiError> {
    session
        .follow(wanted(open), Follower::New)
        .await
        .map_err(|error| ApiError::failed(format!("cannot attach: {error}")))
}

fn wanted(open: &AttachOpen) -> Streams {
    Streams { stdin: open.stdin, stdout: open.stdout, stderr: open.stderr }
}
