//! Diff: what differs from what the container was made of.

use cri_api::isula::v1::file_change::Kind;
use cri_api::isula::v1::{ContainerRequest, FileChange};

use super::{Stream, refusal, relay};
use crate::api::native::{ApiError, Native};
use crate::files::Part;
use crate::files::diff::{Change, ChangeKind};

impl Native {
    pub(super) async fn send_changes(&self, request: ContainerRequest) -> Result<Stream<FileChange>, ApiError> {
        let ContainerRequest { container } = request;
        let id = self.resolve(&container)?;
        let outgoing = self.engine.diff(id).await.map_err(refusal(&container))?;
        Ok(relay(outgoing, &container, None, |part| match part {
            Part::Item(change) => Some(told(change)),
            Part::Note(_) => None,
        }))
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
