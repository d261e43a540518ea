//! ExecSync: runs a process to its end.

use std::time::Duration;

use cri_api::isula::v1::{ExecSyncRequest, ExecSyncResponse};

use super::program;
use crate::api::native::container::{exit_status, start_failure};
use crate::api::native::{ApiError, Native};
use crate::containers;

impl Native {
    pub(super) async fn exec_to_its_end(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse, ApiError> {
        let (reference, program) = program(request.process)?;
        let target = self.target(&reference)?;
        let timeout = (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms.into()));
        Ok(match containers::exec_sync(&self.engine, target, &program, timeout).await? {
            Ok(captured) => ExecSyncResponse {
                stdout: captured.stdout,
                stderr: captured.stderr,
                status: Some(exit_status(captured.status, captured.at)),
                failure: None,
            },
            Err(failure) => ExecSyncResponse { failure: Some(start_failure(failure)), ..ExecSyncResponse::default() },
        })
    }
}
