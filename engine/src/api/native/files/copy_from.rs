//! Copy out of a container: what the path is, then a tar.

use cri_api::isula::v1::copy_from_response::Part as Told;
use cri_api::isula::v1::{CopyFromRequest, CopyFromResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{IN_FLIGHT, Stream, refusal, stat};
use crate::api::native::{ApiError, Native};
use crate::files::Part;

impl Native {
    pub(super) async fn send_files(&self, request: CopyFromRequest) -> Result<Stream<CopyFromResponse>, ApiError> {
        let CopyFromRequest { container, path, follow } = request;
        let id = self.resolve(&container)?;
        let refusal = refusal(&container);
        let (facts, mut outgoing) = self.engine.copy_from(id, path.as_bytes(), follow).await.map_err(&refusal)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(async move {
            let part = |part| CopyFromResponse { part: Some(part) };
            let mut sent = sender.send(Ok(part(Told::Facts(stat::told(facts))))).await;
            while sent.is_ok() {
                let next = tokio::select! {
                    next = outgoing.next() => next,
                    () = sender.closed() => return,
                };
                let Some(next) = next else { return };
                sent = match next {
                    Ok(Part::Item(bytes)) => sender.send(Ok(part(Told::Tar(bytes.into())))).await,
                    Ok(Part::Note(note)) => sender.send(Ok(part(Told::Note(note)))).await,
                    Err(error) => return drop(sender.send(Err(refusal(error).into())).await),
                };
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}
