//! The containers service: each call parses its request, calls a verb of `crate::containers`, and converts the answer.

mod health;
mod inspect;
mod list;
mod networks;
mod restart;
pub(super) mod spec;

use cri_api::isula::v1::containers_server::Containers;
use cri_api::isula::v1::{
    AttachInput, AttachOutput, ContainerRequest, CreateRequest, CreateResponse, Empty, ExitStatus, InspectResponse,
    KillRequest, ListRequest, ListResponse, LogBatch, LogsRequest, RemoveRequest, RenameRequest, ResizeRequest,
    RestartRequest, RunResponse, StartFailure, StartRequest, StartResponse, StopRequest, UpdateRequest, UpdateResponse,
    WaitResponse,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ApiError, Native, peer};
use crate::containers::{self, ContainerError, StartOutcome, Target, Update};
use crate::domain::container;
use crate::domain::id::{ContainerId, Signal, Timestamp};
use crate::signals;

type Answer<T> = Result<Response<T>, Status>;

impl Native {
    pub(in crate::api::native) fn target<'a>(&self, reference: &'a str) -> Result<Target<'a>, ApiError> {
        Ok(Target::find(&self.engine, reference)?)
    }

    pub(in crate::api::native) fn resolve(&self, reference: &str) -> Result<ContainerId, ApiError> {
        Ok(self.target(reference)?.id)
    }
}

/// The end of a container's run as clients get it.
pub(in crate::api::native) fn run_end(end: &container::End) -> ExitStatus {
    ExitStatus { oom_killed: end.oom, ..exit_status(end.status, end.at) }
}

/// The end of a process as clients get it.
pub(in crate::api::native) fn exit_status(status: container::ExitStatus, at: Timestamp) -> ExitStatus {
    let (signal, unknown) = match status {
        container::ExitStatus::Code(_) => (0, ""),
        container::ExitStatus::Signal(signal) => (signal.0, ""),
        container::ExitStatus::Unknown(cause) => (0, cause_text(cause)),
    };
    let finished_at = nanoseconds(at);
    ExitStatus { code: status.code(), signal, oom_killed: false, unknown_cause: unknown.to_owned(), finished_at }
}

/// A start that failed, as clients get it.
pub(in crate::api::native) fn start_failure(failure: containers::StartFailure) -> StartFailure {
    StartFailure { message: failure.message, exit_code: failure.code.into() }
}

fn kill_signal(text: &str) -> Result<Signal, ApiError> {
    match text {
        "" => Ok(Signal::KILL),
        text => signals::parse(text).map(Signal).ok_or_else(|| ApiError::invalid(format!("Invalid signal: {text}"))),
    }
}

pub(in crate::api::native) fn cause_text(cause: container::Cause) -> &'static str {
    match cause {
        container::Cause::HostReboot => "the host was restarted while the container ran",
        container::Cause::ShimAndProcessLost => "the shim and the process were lost while the daemon was away",
        container::Cause::ShimLost => "the shim was lost, and this kernel does not give the status",
    }
}

pub(in crate::api::native) fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// The answer of a verb without a result.
fn done(outcome: Result<(), ContainerError>) -> Answer<Empty> {
    outcome.map_err(ApiError::from)?;
    Ok(Response::new(Empty {}))
}

#[tonic::async_trait]
impl Containers for Native {
    type RunAttachedStream = ReceiverStream<Result<AttachOutput, Status>>;
    type StartAttachedStream = ReceiverStream<Result<AttachOutput, Status>>;
    type AttachStream = ReceiverStream<Result<AttachOutput, Status>>;
    type LogsStream = ReceiverStream<Result<LogBatch, Status>>;

    async fn create(&self, request: Request<CreateRequest>) -> Answer<CreateResponse> {
        let context = peer::context(&request);
        let spec = spec::container(request.into_inner())?;
        let created = containers::create(&self.engine, spec, &context).await.map_err(ApiError::from)?;
        Ok(Response::new(CreateResponse { id: created.id.to_string(), warnings: created.warnings }))
    }

    async fn run(&self, request: Request<CreateRequest>) -> Answer<RunResponse> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        let spec = spec::container(request.into_inner())?;
        let ran = containers::run(&self.engine, spec, &context).await.map_err(ApiError::from)?;
        let failure = ran.failure.map(start_failure);
        Ok(Response::new(RunResponse { id: ran.id.to_string(), warnings: ran.warnings, failure }))
    }

    async fn run_attached(&self, request: Request<Streaming<AttachInput>>) -> Answer<Self::RunAttachedStream> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        Ok(Response::new(self.run_streams(request.into_inner(), context).await?))
    }

    async fn start(&self, request: Request<StartRequest>) -> Answer<StartResponse> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        let reference = request.into_inner().container;
        let outcome = containers::start(&self.engine, self.target(&reference)?, None, &context).await;
        Ok(Response::new(match outcome.map_err(ApiError::from)? {
            StartOutcome::Started { warnings, .. } => StartResponse { failure: None, warnings },
            StartOutcome::AlreadyRunning => StartResponse::default(),
            StartOutcome::Failed(failure) => StartResponse { failure: Some(start_failure(failure)), warnings: vec![] },
        }))
    }

    async fn start_attached(&self, request: Request<Streaming<AttachInput>>) -> Answer<Self::StartAttachedStream> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        Ok(Response::new(self.attach_streams(request.into_inner(), true, context).await?))
    }

    async fn attach(&self, request: Request<Streaming<AttachInput>>) -> Answer<Self::AttachStream> {
        let context = peer::context(&request);
        Ok(Response::new(self.attach_streams(request.into_inner(), false, context).await?))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let StopRequest { container, timeout, force } = request.into_inner();
        let grace = if force { Some(0) } else { timeout };
        done(containers::stop(&self.engine, self.target(&container)?, grace, &context).await)
    }

    async fn kill(&self, request: Request<KillRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let KillRequest { container, signal } = request.into_inner();
        let target = self.target(&container)?;
        done(containers::kill(&self.engine, target, kill_signal(&signal)?, &context).await)
    }

    async fn restart(&self, request: Request<RestartRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let RestartRequest { container, timeout } = request.into_inner();
        done(containers::restart(&self.engine, self.target(&container)?, timeout, &context).await)
    }

    async fn pause(&self, request: Request<ContainerRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let reference = request.into_inner().container;
        done(containers::pause(&self.engine, self.target(&reference)?, &context).await)
    }

    async fn unpause(&self, request: Request<ContainerRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let reference = request.into_inner().container;
        done(containers::resume(&self.engine, self.target(&reference)?, &context).await)
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let RemoveRequest { container, force, volumes } = request.into_inner();
        done(containers::remove(&self.engine, self.target(&container)?, (force, volumes), &context).await)
    }

    async fn rename(&self, request: Request<RenameRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let RenameRequest { container, name } = request.into_inner();
        let target = self.target(&container)?;
        let name = name.parse().map_err(|_| ApiError::from(ContainerError::InvalidName { name }))?;
        done(containers::rename(&self.engine, target, name, &context).await)
    }

    async fn wait(&self, request: Request<ContainerRequest>) -> Answer<WaitResponse> {
        let reference = request.into_inner().container;
        let end = containers::wait(&self.engine, self.target(&reference)?).await.map_err(ApiError::from)?;
        Ok(Response::new(WaitResponse { status: end.as_ref().map(run_end) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        Ok(Response::new(self.list_containers(request.into_inner()).await?))
    }

    async fn inspect(&self, request: Request<ContainerRequest>) -> Answer<InspectResponse> {
        let json = self.inspect_container(&request.into_inner().container).await?;
        Ok(Response::new(InspectResponse { json }))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Answer<Self::LogsStream> {
        Ok(Response::new(self.stream_logs(request.into_inner()).await?))
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Answer<Empty> {
        let ResizeRequest { container, size } = request.into_inner();
        self.resize_container(&container, size.unwrap_or_default()).await?;
        Ok(Response::new(Empty {}))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Answer<UpdateResponse> {
        let context = peer::context(&request);
        let UpdateRequest { container, resources, restart } = request.into_inner();
        let target = self.target(&container)?;
        let restart = restart.as_ref().map(restart::policy).transpose()?;
        let update = Update { limits: resources.map(spec::limits), restart };
        let updated = containers::update(&self.engine, target, update, &context).await;
        Ok(Response::new(UpdateResponse { warnings: updated.map_err(ApiError::from)? }))
    }
}
