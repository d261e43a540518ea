//! Diff: what differs from what the container was made of.

use cri_api::isula::v1::file_change::Kind;
use cri_api::isula::v1::{ContainerRequest, FileChange};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{IN_FLIGHT, Stream, refusal};
use crate::api::native::{ApiError, Native};
use crate::files::Part;
use crate::files::diff::{Change, ChangeKind};

impl Native {
    pub(super) async fn send_changes(&self, request: ContainerRequest) -> Result<Stream<FileChange>, ApiError> {
        let ContainerRequest { container } = request;
        let id = self.resolve(&container)?;
        let refusal = refusal(&container);
        let mut outgoing = self.engine.diff(id).await.map_err(&refusal)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = outgoing.next() => next,
                    () = sender.closed() => return,
                };
                let sent = match next {
                    None => return,
                    Some(Ok(Part::Item(change))) => sender.send(Ok(told(change))).await,
                    Some(Ok(Part::Note(_))) => Ok(()),
                    Some(Err(error)) => return drop(sender.send(Err(refusal(error).into())).await),
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

fn told(Change { kind, path }: Change) -> FileChange {
    let kind = match kind {
        ChangeKind::Changed => Kind::Changed,
        ChangeKind::Added => Kind::Added,
        ChangeKind::Deleted => Kind::Deleted,
    };
    FileChange { kind: kind.into(), path }
}
