//! ExecSync: runs a process to its end.

use std::time::Duration;

use cri_api::isula::v1::{ExecSyncRequest, ExecSyncResponse};

use super::failure;
use crate::api::native::container::exit_status;
use crate::api::native::{ApiError, Native};
use crate::engine::Engine;

impl Native {
    pub(super) async fn exec_to_its_end(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse, ApiError> {
        let (id, reference, program) = self.program(request.process)?;
        if program.tty {
            return Err(ApiError::invalid("what is run to its end has no terminal"));
        }
        let timeout = (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms.into()));
        match self.engine.exec_sync(id, &program, timeout, Engine::OUTPUT_LIMIT).await {
            Ok(captured) => Ok(ExecSyncResponse {
                stdout: captured.stdout,
                stderr: captured.stderr,
                status: Some(exit_status(captured.status, captured.at)),
                failure: None,
            }),
            Err(error) => {
                let failure = Some(failure(error, &reference)?);
                Ok(ExecSyncResponse { failure, ..ExecSyncResponse::default() })
            }
        }
    }
}
