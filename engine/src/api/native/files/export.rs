//! Export: the root filesystem of a container as a tar.

use cri_api::isula::v1::{ContainerRequest, Piece};

use super::{Stream, refusal, relay};
use crate::api::native::{ApiError, Native};
use crate::files::Part;

impl Native {
    pub(super) async fn send_rootfs(&self, request: ContainerRequest) -> Result<Stream<Piece>, ApiError> {
        let ContainerRequest { container } = request;
        let id = self.resolve(&container)?;
        let outgoing = self.engine.files.export(id).await.map_err(refusal(&container))?;
        Ok(relay(outgoing, &container, None, move |part| match part {
            Part::Item(bytes) => Some(Piece { bytes: bytes.into() }),
            Part::Note(note) => {
                tracing::info!(container_id = %id.short(), note, "left out of an export");
                None
            }
        }))
    }
}
