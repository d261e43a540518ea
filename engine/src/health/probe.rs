//! One health probe: an exec in the container, with a deadline and bounded output.

use std::sync::Arc;
use std::time::Duration;

use super::results::OUTPUT_LIMIT;
use crate::cause::chain;
use crate::domain::id::ContainerId;
use crate::exec::{ExecError, Execs, Program};

/// The outcome of a probe.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended {
        code: i32,
        output: String,
    },
    /// The probe exceeded its timeout and was killed.
    Late,
    /// An error of the engine, which does not concern the container's health.
    EngineError {
        message: String,
    },
    /// The container is frozen, or about to end.
    NotRunning,
}

pub(super) async fn probe(execs: &Arc<Execs>, id: ContainerId, args: &[String], timeout: Duration) -> Outcome {
    let program = Program {
        args: args.to_vec(),
        env: vec![],
        user: String::new(),
        workdir: String::new(),
        tty: false,
        privileged: false,
    };
    match execs.exec_sync(id, &program, Some(timeout), OUTPUT_LIMIT).await {
        Ok(captured) => {
            let Some(code) = captured.status.code() else {
                return Outcome::EngineError { message: "the status of the probe is unknown".to_owned() };
            };
            let bytes = [captured.stdout, captured.stderr].concat();
            Outcome::Ended { code, output: String::from_utf8_lossy(&bytes).into_owned() }
        }
        Err(ExecError::Timeout { .. }) => Outcome::Late,
        Err(ExecError::NotStarted { code, message }) => Outcome::Ended { code: i32::from(code), output: message },
        Err(ExecError::Rejected(_)) => Outcome::NotRunning,
        Err(error) => Outcome::EngineError { message: chain(&error) },
    }
}
