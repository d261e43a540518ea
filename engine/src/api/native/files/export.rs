//! Export: the root filesystem of a container as a tar.

use cri_api::isula::v1::{ContainerRequest, Piece};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{IN_FLIGHT, Stream, refusal};
use crate::api::native::{ApiError, Native};
use crate::files::Part;

impl Native {
    pub(super) async fn send_rootfs(&self, request: ContainerRequest) -> Result<Stream<Piece>, ApiError> {
        let ContainerRequest { container } = request;
        let id = self.resolve(&container)?;
        let refusal = refusal(&container);
        let mut outgoing = self.engine.export(id).await.map_err(&refusal)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = outgoing.next() => next,
                    () = sender.closed() => return,
                };
                let sent = match next {
                    None => return,
                    Some(Ok(Part::Item(bytes))) => sender.send(Ok(Piece { bytes: bytes.into() })).await,
                    Some(Ok(Part::Note(note))) => {
                        tracing::info!(container_id = %id.short(), note, "left out of an export");
                        Ok(())
                    }
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
