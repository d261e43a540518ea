//! The shim's answer.

use std::os::fd::OwnedFd;

use isulad_shim::{Failed, Outcome, Ready, StateDir};
use tokio::io::AsyncReadExt;

use super::LaunchError;
use crate::effects::deadlines::ANSWER_DEADLINE;

/// Reads the shim's answer from the pipe; `ShimDied` when the pipe ends without one.
pub(in crate::effects) async fn read_outcome(answer: OwnedFd, state: &StateDir) -> Result<Outcome, LaunchError> {
    let died = || LaunchError::ShimDied { log: state.file(isulad_shim::state_dir::SHIM_LOG) };
    let reading = async {
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(answer)?;
        let mut line = Vec::with_capacity(256);
        pipe.read_to_end(&mut line).await?;
        Outcome::from_line(&line)
    };
    tokio::time::timeout(ANSWER_DEADLINE, reading).await.map_err(|_| LaunchError::NoAnswer)?.map_err(|_| died())
}

pub(in crate::effects) fn accept(outcome: Outcome) -> Result<Ready, LaunchError> {
    match outcome {
        Outcome::Ready(ready) => Ok(ready),
        Outcome::Failed(Failed { message, runtime_status: Some(_), .. }) => Err(LaunchError::Refused { message }),
        Outcome::Failed(Failed { message, runtime_status: None, .. }) => Err(LaunchError::NotRun { message }),
    }
}
