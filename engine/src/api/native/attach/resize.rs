//! Resize of a container's terminal.

use cri_api::isula::v1::WindowSize;

use crate::api::native::{ApiError, Native};
use crate::containers;
use crate::session::Size;

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
        Ok(containers::resize(&self.engine, target, size).await?)
    }
}
