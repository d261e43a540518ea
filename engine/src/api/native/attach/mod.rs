//! Attached clients of a container's first process. The daemon only relays bytes, see [`super::relay`].

mod client;
mod resize;
mod resume;
mod run;

use std::os::fd::OwnedFd;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, StartFailure};
use isulad_shim::control::{Follower, Streams};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use client::Client;
use resume::SessionTarget;

use super::container::start_failure;
use super::relay::IN_FLIGHT;
use super::{ApiError, Native};
use crate::containers::{self, AttachGuard, StartOutcome, Target, Verb};
use crate::domain::id::StartId;
use crate::effects::FirstClient;
use crate::journal::record::Context;
use crate::session::{Session, Size};

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
        let target = self.target(&open.container)?;
        let (id, entity) = (target.id, target.entity(&self.engine)?);
        let card = &entity.state.card;
        let (tty, feeds, removes_itself) = (card.tty, open.stdin && card.open_stdin, card.auto_remove);
        let changes = self.engine.containers.listen(id);
        let mut guard = AttachGuard::new(&self.engine, &entity, &context, open.stdin, tty)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let (session, start, warnings) = if start {
            match self.connect_by_start(target, &open, &mut guard, &context).await? {
                Ok(connected) => connected,
                Err(failure) => {
                    let _ = sender.send(Ok(AttachOutput { output: Some(Output::Failed(failure)) })).await;
                    return Ok(ReceiverStream::new(receiver));
                }
            }
        } else {
            guard.begin(target.reference).await?;
            let (session, start) = self.connect_to_running(target, &open).await?;
            (session, start, None)
        };
        let first = warnings.is_some();
        let target = SessionTarget { engine: self.engine.clone(), id, start, wanted: wanted(&open), first, feeds };
        let client = Client::new(sender, changes, target, (tty, removes_itself), Some(guard));
        tokio::spawn(client.serve(session, input, open, warnings.unwrap_or_default()));
        Ok(ReceiverStream::new(receiver))
    }

    /// With the warnings of the start, if this client has started the container.
    async fn connect_by_start(
        &self,
        target: Target<'_>,
        open: &AttachOpen,
        guard: &mut AttachGuard,
        context: &Context,
    ) -> Result<Result<(Session, StartId, Option<Vec<String>>), StartFailure>, ApiError> {
        let pair = Session::pair();
        let (session, theirs) =
            pair.map_err(|error| ApiError::failed(format!("cannot make a socket pair: {error}")))?;
        choose(&session, open).await?;
        let size = open.size.and_then(|size| Size::new(size.width, size.height));
        let client = FirstClient { socket: OwnedFd::from(theirs), size };
        match containers::start(&self.engine, target, Some((client, guard)), context).await? {
            StartOutcome::Started { start, warnings } => Ok(Ok((session, start, Some(warnings)))),
            StartOutcome::Failed(failure) => Ok(Err(start_failure(failure))),
            // The container ran already: the client joins like any other.
            StartOutcome::AlreadyRunning => {
                let (session, start) = self.connect_to_running(target, open).await?;
                Ok(Ok((session, start, None)))
            }
        }
    }

    async fn connect_to_running(&self, target: Target<'_>, open: &AttachOpen) -> Result<(Session, StartId), ApiError> {
        let (stream, start) = containers::connect(&self.engine, target, Verb::Attach).await?;
        let session = Session::over(stream);
        choose(&session, open).await?;
        Ok((session, start))
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
