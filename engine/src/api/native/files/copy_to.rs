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
        let copying = self.engine.copy_to(id, path.as_bytes(), options, pieces);
        tokio::pin!(copying);
        let copied = tokio::select! {
            // It may have seen enough, or have to stop: what is still to come is not waited for.
            copied = &mut copying => copied,
            sent = pass_on(requests, feed) => match (sent, copying.await) {
                // An archive that breaks off is the client's, whatever it has led to.
                (Err(broken), Err(FilesError::Input { .. })) => return Err(broken),
                (_, copied) => copied,
            },
        };
        copied.map_err(refusal(&container))
    }
}
