//! Copy into a container: a tar that is unpacked there.

use cri_api::isula::v1::copy_to_request::Part as Sent;
use cri_api::isula::v1::{CopyToOpen, CopyToRequest};
use tonic::Streaming;

use super::refusal;
use crate::api::native::pieces::{Message, Part, opening, pass_on};
use crate::api::native::{ApiError, Native};
use crate::files::{FilesError, UnpackOptions};
use crate::image::feed;

impl Message for CopyToRequest {
    type Open = CopyToOpen;

    fn part(self) -> Part<CopyToOpen> {
        match self.part {
            Some(Sent::Open(open)) => Part::Open(open),
            Some(Sent::Tar(bytes)) => Part::Bytes(bytes.into()),
            None => Part::Nothing,
        }
    }
}

impl Native {
    pub(super) async fn receive_files(&self, mut requests: Streaming<CopyToRequest>) -> Result<(), ApiError> {
        let CopyToOpen { container, path, archive, no_overwrite_dir_non_dir } = opening(&mut requests).await?;
        let id = self.resolve(&container)?;
        let options = UnpackOptions { keep_owners: archive, strict: no_overwrite_dir_non_dir };
        let (feed, pieces) = feed();
        let copying = self.engine.files.copy_to(id, path.as_bytes(), options, pieces);
        tokio::pin!(copying);
        let copied = tokio::select! {
            // The copy may be complete, or have failed: the rest of the stream is not waited for.
            copied = &mut copying => copied,
            sent = pass_on(requests, feed) => match (sent, copying.await) {
                // A broken stream is the client's error, also when it has caused another failure.
                (Err(broken), Err(FilesError::Input { .. })) => return Err(broken),
                (_, copied) => copied,
            },
        };
        copied.map_err(refusal(&container))
    }
}
