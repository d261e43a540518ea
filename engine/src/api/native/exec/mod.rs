//! The execs service: one file per verb.

mod run;
mod sync;

use cri_api::isula::v1::execs_server::Execs;
use cri_api::isula::v1::{ExecInput, ExecOutput, ExecProcess, ExecSyncRequest, ExecSyncResponse, StartFailure};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ApiError, Native, peer};
use crate::cause::chain;
use crate::containers::{ContainerError, Verb, sizes};
use crate::domain::id::ContainerId;
use crate::exec::{ExecError, Program};
use crate::spec::SpecError;

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

impl Native {
    /// The container and the program, checked as far as possible without the container's files.
    fn program(&self, process: Option<ExecProcess>) -> Result<(ContainerId, String, Program), ApiError> {
        let process = process.ok_or_else(|| ApiError::invalid("an exec needs a process"))?;
        let reference = process.container;
        let id = self.resolve(&reference)?;
        let program = Program {
            args: process.command,
            env: process.env,
            user: process.user,
            workdir: process.workdir,
            tty: process.tty,
            privileged: process.privileged,
        };
        check(&program)?;
        Ok((id, reference, program))
    }
}

fn check(program: &Program) -> Result<(), ApiError> {
    if program.args.first().is_none_or(String::is_empty) {
        return Err(ApiError::invalid("No command specified"));
    }
    sizes::program(program)?;
    let texts = program.args.iter().chain(&program.env).chain([&program.user, &program.workdir]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(ApiError::invalid("arguments and environment cannot hold a NUL byte"));
    }
    if let Some(entry) = program.env.iter().find(|entry| entry.starts_with('=') || !entry.contains('=')) {
        let key = entry.split('=').next().unwrap_or_default();
        return Err(ApiError::invalid(format!("invalid environment variable `{key}`: KEY=VALUE is wanted")));
    }
    if !program.workdir.is_empty() && !program.workdir.starts_with('/') {
        let workdir = &program.workdir;
        return Err(ApiError::invalid(format!(
            "The working directory '{workdir}' is invalid. It needs to be an absolute path"
        )));
    }
    Ok(())
}

/// The answer to an exec that could not be started, or the error that replaces an answer.
fn failure(error: ExecError, reference: &str) -> Result<StartFailure, ApiError> {
    Err(match error {
        ExecError::NotStarted { code, message } => return Ok(StartFailure { message, exit_code: i32::from(code) }),
        ExecError::Rejected(rejection) => ContainerError::of_rejection(rejection, Verb::Exec, reference).into(),
        ExecError::Journal(error) => ApiError::Journal(error),
        ExecError::Spec(error @ (SpecError::Decode { .. } | SpecError::Encode { .. })) => {
            ApiError::failed(chain(&error))
        }
        ExecError::Spec(error) => ApiError::invalid(chain(&error)),
        ExecError::Definition(error) => ApiError::Definition(error),
        ExecError::Runtime(error) => ApiError::Runtime(error),
        error @ (ExecError::Timeout { .. }
        | ExecError::NoAnswer { .. }
        | ExecError::NotReleased { .. }
        | ExecError::Crowded { .. }
        | ExecError::Slow { .. }) => ApiError::Deadline { message: chain(&error) },
        error @ (ExecError::ShimMissing { .. }
        | ExecError::State { .. }
        | ExecError::Describe(_)
        | ExecError::Spawn { .. }
        | ExecError::ShimDied) => ApiError::failed(chain(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_programs_are_refused_at_once() {
        let program = |change: fn(&mut Program)| {
            let mut program = Program { args: vec!["true".into()], ..Program::default() };
            change(&mut program);
            check(&program).map_err(|error| error.to_string())
        };
        assert_eq!(program(|_| {}), Ok(()));
        for (change, text) in [
            ((|program| program.args.clear()) as fn(&mut Program), "No command specified"),
            (|program| program.args[0].clear(), "No command specified"),
            (|program| program.args.push("a\0b".into()), "arguments and environment cannot hold a NUL byte"),
            (|program| program.env.push("A".into()), "invalid environment variable `A`: KEY=VALUE is wanted"),
            (
                |program| program.workdir = "tmp".into(),
                "The working directory 'tmp' is invalid. It needs to be an absolute path",
            ),
        ] {
            assert_eq!(program(change), Err(text.to_owned()));
        }
    }
}
