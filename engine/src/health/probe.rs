//! One probe: a process in the container, by way of the engine's own exec, with a deadline and bounded output.

use std::sync::Arc;
use std::time::Duration;

use super::results::OUTPUT_LIMIT;
use crate::cause::chain;
use crate::domain::container::ExitStatus;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::exec::{ExecError, Program};

/// What a probe has come to.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended {
        code: i32,
        output: String,
    },
    /// It took longer than it may, and was killed.
    Late,
    /// The engine's, not the container's: says nothing of its health.
    Trouble {
        message: String,
    },
    /// Frozen, or on its way to an end.
    NotRunning,
}

pub(super) async fn probe(engine: &Arc<Engine>, id: ContainerId, args: &[String], timeout: Duration) -> Outcome {
    let program = Program {
        args: args.to_vec(),
        env: vec![],
        user: String::new(),
        workdir: String::new(),
        tty: false,
        privileged: false,
    };
    match engine.exec_sync(id, &program, Some(timeout), OUTPUT_LIMIT).await {
        Ok(captured) => {
            let code = match captured.status {
                ExitStatus::Code(code) => i32::from(code),
                ExitStatus::Signal(signal) => 128 + signal.0,
                ExitStatus::Unknown(_) => {
                    return Outcome::Trouble { message: "the status of the probe is unknown".to_owned() };
                }
            };
            let bytes = [captured.stdout, captured.stderr].concat();
            Outcome::Ended { code, output: String::from_utf8_lossy(&bytes).into_owned() }
        }
        Err(ExecError::Timeout { .. }) => Outcome::Late,
        Err(ExecError::NotStarted { code, message }) => Outcome::Ended { code: i32::from(code), output: message },
        Err(ExecError::Rejected(_)) => Outcome::NotRunning,
        Err(error) => Outcome::Trouble { message: chain(&error) },
    }
}
