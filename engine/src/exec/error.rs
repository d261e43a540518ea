//! The errors of execs: why a process could not be run in a container.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use isulad_shim::Failed;
use isulad_shim::process::ProcessError;
use store::AppendError;

use crate::definition::DefinitionError;
use crate::domain::container::Rejection;
use crate::ledger::TurnError;
use crate::runtime::{RuntimeError, exit_code_of};
use crate::spec::SpecError;

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{0}")]
    Rejected(Rejection),
    #[error("cannot write the journal")]
    Journal(#[source] AppendError),
    /// The requested process is impossible in this container.
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
    /// All places are taken by preparations that hang, or that wait as long.
    #[error(
        "{count} processes are being prepared for {scope}, and none was ready within {} s: a file system that is mounted \
         there may not answer",
        limit.as_secs()
    )]
    Crowded { count: usize, scope: &'static str, limit: Duration },
    #[error(
        "the shim of the process did not confirm within {} s that it goes on without its client; it may have ended",
        limit.as_secs()
    )]
    NotReleased { limit: Duration },
    #[error("the shim of the process gave no answer within {} s", limit.as_secs())]
    NoAnswer { limit: Duration },
    #[error("the shim of the process has died; the daemon's log has its last messages, if there were any")]
    ShimDied,
    /// The runtime or the shim reports that the process was not started: 127 for a missing program, 126 for one that
    /// cannot be executed, 125 for everything else.
    #[error("{message}")]
    NotStarted { code: u8, message: String },
    #[error("the process did not end within {} ms and was killed", limit.as_millis())]
    Timeout { limit: Duration },
}

impl ExecError {
    pub(super) fn failed(failed: &Failed) -> Self {
        Self::NotStarted { code: Self::code_of(failed), message: failed.message.clone() }
    }

    /// The status with which a shell would exit.
    pub(super) fn code_of(failed: &Failed) -> u8 {
        match failed.runtime_status {
            // Only the runtime's own message about the command itself means 126 and 127.
            Some(_) => exit_code_of(&failed.message),
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
