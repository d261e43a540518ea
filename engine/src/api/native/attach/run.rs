//! Creates and starts a container with its client attached, in one step: a client that leaves before the record leaves
//! nothing behind; when it leaves before the start has succeeded, the container is killed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, AttachRun, CreateRequest, CreateResponse};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::client::Client;
use super::resume::SessionTarget;
use super::{Answer, choose, wanted};
use crate::api::native::container::{self, start_failure};
use crate::api::native::relay::{self, IN_FLIGHT};
use crate::api::native::{ApiError, Native};
use crate::cancel::CancelToken;
use crate::containers::{self, AttachedRun, Target, start_outcome};
use crate::domain::id::{ContainerId, Signal};
use crate::effects::FirstClient;
use crate::journal::record::Context;
use crate::panics::contained;
use crate::session::{Session, Size};

/// A container that is recorded and being started, and the client's session with it.
struct StartedRun {
    run: AttachedRun,
    session: Session,
}

impl Native {
    pub(in crate::api::native) async fn run_streams(
        &self,
        mut input: Streaming<AttachInput>,
        context: Context,
    ) -> Answer {
        let (create, open) = match input.next().await {
            Some(Ok(AttachInput { input: Some(Input::Run(AttachRun { create: Some(create), open: Some(open) })) })) => {
                (create, open)
            }
            _ => return Err(ApiError::invalid("the first message must be `run`, with a container and streams")),
        };
        if !(open.stdin || open.stdout || open.stderr) {
            return Err(ApiError::invalid("a client must be attached to one of stdin, stdout and stderr at least"));
        }
        let native = self.clone();
        // Until it is recorded the creation checks whether its caller is alive; the call is dropped here when the
        // client has gone.
        let caller = Arc::new(());
        let cancel = CancelToken::of(&caller);
        let (answer, answered) = oneshot::channel();
        // In a task of its own: a recorded creation is finished also when the client leaves.
        self.engine.node.tasks.spawn(contained(async move {
            let (sender, receiver) = mpsc::channel(IN_FLIGHT);
            match native.make(create, &open, &cancel, &context).await {
                Ok(made) => {
                    let run = &made.run;
                    let created = CreateResponse { id: run.id.to_string(), warnings: run.warnings.clone() };
                    let _ = sender.send(Ok(AttachOutput { output: Some(Output::Created(created)) })).await;
                    // A dropped receiver means that the client has left.
                    drop(answer.send(Ok(receiver)));
                    native.serve_started(made, input, open, sender, &context).await;
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        }));
        let made = answered.await.unwrap_or_else(|_| Err(ApiError::failed("cannot run the container".to_owned())));
        drop(caller);
        made.map(ReceiverStream::new)
    }

    async fn make(
        &self,
        create: CreateRequest,
        open: &AttachOpen,
        caller: &CancelToken,
        context: &Context,
    ) -> Result<StartedRun, ApiError> {
        let pair = Session::pair();
        let (session, theirs) =
            pair.map_err(|error| ApiError::failed(format!("cannot make a socket pair: {error}")))?;
        choose(&session, open).await?;
        let size = open.size.and_then(|size| Size::new(size.width, size.height));
        let client = FirstClient { socket: OwnedFd::from(theirs), size };
        let spec = container::spec::container(create)?;
        let run = containers::run_attached(&self.engine, spec, (client, open.stdin), caller, context).await?;
        Ok(StartedRun { run, session })
    }

    async fn serve_started(
        &self,
        made: StartedRun,
        input: Streaming<AttachInput>,
        open: AttachOpen,
        sender: relay::Sender<AttachOutput>,
        context: &Context,
    ) {
        let StartedRun { run: AttachedRun { id, card, start, guard, mut asked, warnings: _ }, session } = made;
        let entity = self.engine.containers.get(&id);
        let outcome = start_outcome(&mut asked, start).await;
        drop(self.engine.effects.take_first_client(&id, context.operation));
        let failed = |failure| Ok(AttachOutput { output: Some(Output::Failed(start_failure(failure))) });
        match outcome {
            Some(Ok(())) if sender.is_closed() => {
                drop((session, guard));
                self.end_unwanted(id, context).await;
            }
            Some(Ok(())) => {
                let warnings = entity.map_or_else(Vec::new, |entity| entity.take_warnings());
                let feeds = open.stdin && card.open_stdin;
                let target =
                    SessionTarget { engine: self.engine.clone(), id, start, wanted: wanted(&open), first: true, feeds };
                let behaviour = (card.tty, card.auto_remove);
                let client = Client::new(sender, asked.into_changes(), target, behaviour, Some(guard));
                client.serve(session, input, open, warnings).await;
            }
            Some(Err(failure)) => drop(sender.send(failed(failure)).await),
            None => {
                let late = format!("the start of {} has no outcome yet", card.name);
                let _ = sender.send(Err(Status::deadline_exceeded(late))).await;
            }
        }
    }

    /// Kills a container that was started after its client has left.
    async fn end_unwanted(&self, id: ContainerId, context: &Context) {
        tracing::info!(container_id = %id.short(), "its client has left before it was started: it is ended");
        let reference = id.to_string();
        let target = Target { id, reference: &reference };
        if let Err(error) = containers::kill(&self.engine, target, Signal::KILL, context).await {
            // The container has ended by itself.
            tracing::debug!(container_id = %id.short(), %error, "it is not killed");
        }
    }
}
