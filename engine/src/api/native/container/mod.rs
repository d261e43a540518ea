//! The containers service: one file per verb.

mod ask;
mod create;
mod health;
mod image;
mod inspect;
mod list;
mod network;
mod networks;
mod networks_released;
mod remove;
mod rename;
mod resolve_image;
mod restart;
mod start;
mod stop;
mod suspend;
mod update;
mod validate;
mod volumes;
mod wait;

pub(super) use ask::START_PATIENCE;
pub(super) use networks_released::networks_released;
pub(super) use start::{StartOutcome, outcome_of, started_by};
pub(super) use wait::ending;

use std::sync::Arc;

use cri_api::isula::v1::containers_server::Containers;
use cri_api::isula::v1::{
    AttachInput, AttachOutput, ContainerRequest, CreateRequest, CreateResponse, Empty, ExitStatus, InspectResponse,
    KillRequest, ListRequest, ListResponse, LogBatch, LogsRequest, RemoveRequest, RenameRequest, ResizeRequest,
    RestartRequest, RunResponse, StartRequest, StartResponse, StopRequest, UpdateRequest, UpdateResponse, WaitResponse,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ApiError, Native, peer};
use crate::cancel::CancelToken;
use crate::domain::container;
use crate::domain::id::{ContainerId, Timestamp};
use crate::panics::contained;

type Answer<T> = Result<Response<T>, Status>;

impl Native {
    pub(in crate::api::native) fn resolve(&self, reference: &str) -> Result<ContainerId, ApiError> {
        self.engine.containers.resolve(reference).map_err(|error| ApiError::of_resolve(error, reference))
    }
}

/// The end of a run as clients get it.
pub(in crate::api::native) fn exit_status(end: &container::End) -> ExitStatus {
    let (code, signal, unknown) = match end.status {
        container::ExitStatus::Code(code) => (Some(i32::from(code)), 0, ""),
        container::ExitStatus::Signal(signal) => (Some(128 + signal.0), signal.0, ""),
        container::ExitStatus::Unknown(cause) => (None, 0, cause_text(cause)),
    };
    ExitStatus {
        code,
        signal,
        oom_killed: end.oom,
        unknown_cause: unknown.to_owned(),
        finished_at: nanoseconds(end.at),
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

async fn finished<T>(task: tokio::task::JoinHandle<Result<T, ApiError>>) -> Result<T, ApiError> {
    task.await.unwrap_or_else(|panic| Err(ApiError::failed(panic.to_string())))
}

#[tonic::async_trait]
impl Containers for Native {
    type RunAttachedStream = ReceiverStream<Result<AttachOutput, Status>>;
    type StartAttachedStream = ReceiverStream<Result<AttachOutput, Status>>;
    type AttachStream = ReceiverStream<Result<AttachOutput, Status>>;
    type LogsStream = ReceiverStream<Result<LogBatch, Status>>;

    async fn create(&self, request: Request<CreateRequest>) -> Answer<CreateResponse> {
        let (native, context) = (self.clone(), peer::context(&request));
        // In a task of its own: a cancelled caller must not leave half a container. Until it is recorded the creation
        // checks whether its caller is alive; the call is dropped here when the client has gone.
        let caller = Arc::new(());
        let cancel = CancelToken::of(&caller);
        let creating =
            tokio::spawn(contained(
                async move { native.create_container(request.into_inner(), &cancel, &context).await },
            ));
        let created = finished(creating).await;
        drop(caller);
        Ok(Response::new(created?))
    }

    async fn run(&self, request: Request<CreateRequest>) -> Answer<RunResponse> {
        self.engine.moves.expect();
        let (native, context) = (self.clone(), peer::context(&request));
        let caller = Arc::new(());
        let cancel = CancelToken::of(&caller);
        let running =
            tokio::spawn(contained(async move { native.run_container(request.into_inner(), &cancel, &context).await }));
        let ran = finished(running).await;
        drop(caller);
        Ok(Response::new(ran?))
    }

    async fn run_attached(&self, request: Request<Streaming<AttachInput>>) -> Answer<Self::RunAttachedStream> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        Ok(Response::new(self.run_streams(request.into_inner(), context).await?))
    }

    async fn start(&self, request: Request<StartRequest>) -> Answer<StartResponse> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        Ok(Response::new(self.start_container(&request.into_inner().container, &context).await?))
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
        self.stop_container(&container, if force { Some(0) } else { timeout }, &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let KillRequest { container, signal } = request.into_inner();
        self.kill_container(&container, &signal, &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn restart(&self, request: Request<RestartRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let RestartRequest { container, timeout } = request.into_inner();
        self.restart_container(&container, timeout, &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn pause(&self, request: Request<ContainerRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        self.pause_container(&request.into_inner().container, &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn unpause(&self, request: Request<ContainerRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        self.resume_container(&request.into_inner().container, &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Answer<Empty> {
        let context = peer::context(&request);
        let RemoveRequest { container, force, volumes } = request.into_inner();
        self.remove_container(&container, (force, volumes), &context).await?;
        Ok(Response::new(Empty {}))
    }

    async fn rename(&self, request: Request<RenameRequest>) -> Answer<Empty> {
        let (native, context) = (self.clone(), peer::context(&request));
        let RenameRequest { container, name } = request.into_inner();
        let renaming =
            tokio::spawn(contained(async move { native.rename_container(&container, &name, &context).await }));
        finished(renaming).await?;
        Ok(Response::new(Empty {}))
    }

    async fn wait(&self, request: Request<ContainerRequest>) -> Answer<WaitResponse> {
        let status = self.wait_container(&request.into_inner().container).await?;
        Ok(Response::new(WaitResponse { status }))
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
        let (native, context) = (self.clone(), peer::context(&request));
        let updating =
            tokio::spawn(contained(async move { native.update_container(request.into_inner(), &context).await }));
        Ok(Response::new(UpdateResponse { warnings: finished(updating).await? }))
    }
}
