//! The files service: wire on one side, the engine's functions on the other.

mod copy_from;
mod copy_to;
mod diff;
mod export;
mod stat;

use cri_api::isula::v1::files_server::Files;
use cri_api::isula::v1::{
    ContainerRequest, CopyFromRequest, CopyFromResponse, CopyToRequest, Empty, FileChange, FileFacts, Piece,
    StatRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ApiError, Native};
use crate::containers::{ContainerError, Verb};
use crate::files::{FilesError, Outgoing, Part};

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = ReceiverStream<Result<T, Status>>;

/// Messages in flight to a client, beside those that the engine holds ready.
const IN_FLIGHT: usize = 1;

/// Converts errors of the container that `reference` names.
fn refusal(reference: &str) -> impl Fn(FilesError) -> ApiError + Send + 'static {
    let reference = reference.to_owned();
    move |error| match error {
        FilesError::Rejected(rejection) => ContainerError::of_rejection(rejection, Verb::Copy, &reference).into(),
        source => ApiError::Files { reference: reference.clone(), source },
    }
}

/// Relays the engine's parts, after `first`, one message at a time, until either side ends. A part that `convert` maps
/// to `None` is left out.
fn relay<P: Send + 'static, M: Send + 'static>(
    mut outgoing: Outgoing<P>,
    reference: &str,
    first: Option<M>,
    convert: impl Fn(Part<P>) -> Option<M> + Send + 'static,
) -> Stream<M> {
    let refusal = refusal(reference);
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        let mut message = first;
        loop {
            if let Some(message) = message
                && sender.send(Ok(message)).await.is_err()
            {
                return;
            }
            let next = tokio::select! {
                next = outgoing.next() => next,
                () = sender.closed() => return,
            };
            message = match next {
                None => return,
                Some(Ok(part)) => convert(part),
                Some(Err(error)) => return drop(sender.send(Err(refusal(error).into())).await),
            };
        }
    });
    ReceiverStream::new(receiver)
}

#[tonic::async_trait]
impl Files for Native {
    type CopyFromStream = Stream<CopyFromResponse>;
    type ExportStream = Stream<Piece>;
    type DiffStream = Stream<FileChange>;

    async fn copy_from(&self, request: Request<CopyFromRequest>) -> Answer<Self::CopyFromStream> {
        Ok(Response::new(self.send_files(request.into_inner()).await?))
    }

    async fn copy_to(&self, request: Request<Streaming<CopyToRequest>>) -> Answer<Empty> {
        self.receive_files(request.into_inner()).await?;
        Ok(Response::new(Empty {}))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Answer<FileFacts> {
        Ok(Response::new(self.look_at(request.into_inner()).await?))
    }

    async fn export(&self, request: Request<ContainerRequest>) -> Answer<Self::ExportStream> {
        Ok(Response::new(self.send_rootfs(request.into_inner()).await?))
    }

    async fn diff(&self, request: Request<ContainerRequest>) -> Answer<Self::DiffStream> {
        Ok(Response::new(self.send_changes(request.into_inner()).await?))
    }
}
