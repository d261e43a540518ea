//! The execs service: one file per verb.

mod run;
mod sync;

use cri_api::isula::v1::execs_server::Execs;
use cri_api::isula::v1::{ExecInput, ExecOutput, ExecProcess, ExecSyncRequest, ExecSyncResponse};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ApiError, Native, peer};
use crate::exec::Program;

#[tonic::async_trait]
impl Execs for Native {
    type ExecStream = ReceiverStream<Result<ExecOutput, Status>>;

    async fn exec(&self, request: Request<Streaming<ExecInput>>) -> Result<Response<Self::ExecStream>, Status> {
        self.engine.moves.expect();
        let context = peer::context(&request);
        Ok(Response::new(self.exec_streams(request.into_inner(), context).await?))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Result<Response<ExecSyncResponse>, Status> {
        self.engine.moves.expect();
        Ok(Response::new(self.exec_to_its_end(request.into_inner()).await?))
    }
}

/// The reference to the container, and the program.
fn program(process: Option<ExecProcess>) -> Result<(String, Program), ApiError> {
    let process = process.ok_or_else(|| ApiError::invalid("an exec needs a process"))?;
    let ExecProcess { container, command, env, user, workdir, tty, privileged } = process;
    Ok((container, Program { args: command, env, user, workdir, tty, privileged }))
}
