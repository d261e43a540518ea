//! Why a process could not be run in a container.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use isulad_shim::Failed;
use isulad_shim::process::ProcessError;
use store::AppendError;

use crate::definition::DefinitionError;
use crate::domain::container::Rejection;
use crate::effects;
use crate::ledger::TurnError;
use crate::runtime::RuntimeError;
use crate::spec::SpecError;

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{0}")]
    Rejected(Rejection),
    #[error("cannot write the journal")]
    Journal(#[source] AppendError),
    /// What was asked for cannot be.
    #[error(transparent)]
    Spec(SpecError),
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("cannot find the shim `{path}`")]
    ShimMissing { path: PathBuf },
    #[error("cannot {what}")]
    State { what: &'static str, source: io::Error },
    #[error(transparent)]
    Describe(ProcessError),
    #[error("cannot run the shim `{path}`")]
    Spawn { path: PathBuf, source: io::Error },
    #[error(
        "the preparation of the process did not finish within {} s: a file system that is mounted in the container may not \
         answer",
        limit.as_secs()
    )]
    Slow { limit: Duration },
    /// Each of them has hung for that long, or is one of so many.
    #[error(
        "{count} processes are being prepared for {whose}, and none was ready within {} s: a file system that is mounted \
         there may not answer",
        limit.as_secs()
    )]
    Crowded { count: usize, whose: &'static str, limit: Duration },
    #[error(
        "the shim of the process did not say within {} s that it goes on without its client; it may have ended",
        limit.as_secs()
    )]
    NotReleased { limit: Duration },
    #[error("the shim of the process gave no answer within {} s", limit.as_secs())]
    NoAnswer { limit: Duration },
    #[error("the shim of the process has died; the daemon's log has what it said, if it said anything")]
    ShimDied,
    /// The runtime, or the shim, says that it was not started: 127 for what is not there, 126 for what cannot be
    /// executed, 125 for everything else.
    #[error("{message}")]
    NotStarted { code: u8, message: String },
    #[error("the process did not end within {} ms and was killed", limit.as_millis())]
    Timeout { limit: Duration },
}

impl ExecError {
    pub(super) fn failed(failed: &Failed) -> Self {
        Self::NotStarted { code: Self::code_of(failed), message: failed.message.clone() }
    }

    /// What a shell would leave with.
    pub(super) fn code_of(failed: &Failed) -> u8 {
        match failed.runtime_status {
            // Only the runtime's own words about the command itself mean 126 and 127.
            Some(_) => effects::exit_code_of(&failed.message),
            None => 125,
        }
    }

    pub(super) fn state(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::State { what, source }
    }
}

impl From<TurnError<Rejection>> for ExecError {
    fn from(error: TurnError<Rejection>) -> Self {
        match error {
            TurnError::Rejected(rejection) => Self::Rejected(rejection),
            TurnError::Journal(error) => Self::Journal(error),
        }
    }
}

impl From<SpecError> for ExecError {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}
