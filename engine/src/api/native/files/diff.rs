//! Diff: the files that differ from the container's image.

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
        let outgoing = self.engine.files.diff(id).await.map_err(refusal(&container))?;
        Ok(relay(outgoing, &container, None, |part| match part {
            Part::Item(change) => Some(file_change(change)),
            Part::Note(_) => None,
        }))
    }
}

fn file_change(Change { kind, path }: Change) -> FileChange {
    let kind = match kind {
        ChangeKind::Changed => Kind::Changed,
        ChangeKind::Added => Kind::Added,
        ChangeKind::Deleted => Kind::Deleted,
    };
    FileChange { kind: kind.into(), path }
}
