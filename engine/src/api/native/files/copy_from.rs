//! Copy out of a container: facts about the path, then a tar.

use cri_api::isula::v1::copy_from_response::Part as WirePart;
use cri_api::isula::v1::{CopyFromRequest, CopyFromResponse};

use super::{Stream, refusal, relay, stat};
use crate::api::native::{ApiError, Native};
use crate::files::Part;

impl Native {
    pub(super) async fn send_files(&self, request: CopyFromRequest) -> Result<Stream<CopyFromResponse>, ApiError> {
        let CopyFromRequest { container, path, follow } = request;
        let id = self.resolve(&container)?;
        let (facts, outgoing) =
            self.engine.files.copy_from(id, path.as_bytes(), follow).await.map_err(refusal(&container))?;
        let response = |part| CopyFromResponse { part: Some(part) };
        let facts = response(WirePart::Facts(stat::wire_facts(facts)));
        Ok(relay(outgoing, &container, Some(facts), move |part| {
            Some(response(match part {
                Part::Item(bytes) => WirePart::Tar(bytes.into()),
                Part::Note(note) => WirePart::Note(note),
            }))
        }))
    }
}
