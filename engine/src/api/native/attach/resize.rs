//! Resize of a container's terminal, by any client, attached or not.

use std::time::Duration;

use cri_api::isula::v1::WindowSize;
use isulad_shim::control::kind;

use super::connect;
use crate::api::native::{ApiError, Native};
use crate::containers::Verb;
use crate::session::{Session, SessionEvent, Size};

/// How long a shim may take to answer, which it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

impl Native {
    pub(in crate::api::native) async fn resize_container(
        &self,
        reference: &str,
        size: WindowSize,
    ) -> Result<(), ApiError> {
        let target = self.target(reference)?;
        let Some(size) = Size::new(size.width, size.height) else {
            return Err(ApiError::invalid(format!("a window of {} by {} is no window", size.width, size.height)));
        };
        let (stream, _) = connect(&self.engine, target, Verb::Resize).await?;
        let answered = async {
            let (mut input, mut output) = Session::over(stream).split();
            input.resize(size).await.map_err(|error| ApiError::failed(format!("cannot resize: {error}")))?;
            loop {
                match output.next().await {
                    SessionEvent::Done(kind::RESIZE) => return Ok(()),
                    SessionEvent::Refused(_, message) => return Err(ApiError::failed(message)),
                    SessionEvent::Exited(_) | SessionEvent::Lost => {
                        return Err(ApiError::failed("the shim left without an answer"));
                    }
                    SessionEvent::Stdout(_)
                    | SessionEvent::Stderr(_)
                    | SessionEvent::Ready(_)
                    | SessionEvent::Failed(_)
                    | SessionEvent::Done(_) => {}
                }
            }
        };
        let late = |_| ApiError::Deadline { message: "the shim does not answer".to_owned() };
        tokio::time::timeout(PATIENCE, answered).await.map_err(late)?
    }
}
