//! The shim's answer to a start: one line of JSON on the readiness pipe, and the same JSON in the frames `Ready` and
//! `Failed` of the attach socket.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::ProcessRef;

/// The outcome of a start (or an adoption).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ready(Ready),
    Failed(Failed),
}

/// The container's first process runs, or has already ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub pid: i32,
    pub pid_start: u64,
    pub shim_pid: i32,
    pub shim_start: u64,
    /// Nanoseconds since 1970, when the runtime had exited.
    pub at: u64,
}

/// Nothing runs; traces of the runtime are deleted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub step: Step,
    /// The runtime's own message, whole, or the shim's.
    pub message: String,
    /// The runtime's exit code, where it exited by itself; 128 and the signal where it was killed.
    pub runtime_status: Option<i32>,
}

/// The step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The shim's own preparations.
    Setup,
    /// The runtime's `run`.
    Run,
    /// Taking over from a lost shim.
    Adopt,
    /// The runtime's `exec`.
    Exec,
}

impl Ready {
    /// The container's first process.
    pub fn process(&self) -> ProcessRef {
        ProcessRef { pid: self.pid, start_time: self.pid_start }
    }

    pub fn shim(&self) -> ProcessRef {
        ProcessRef { pid: self.shim_pid, start_time: self.shim_start }
    }
}

impl Step {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Run => "run",
            Self::Adopt => "adopt",
            Self::Exec => "exec",
        }
    }
}

impl Outcome {
    /// The line for the readiness pipe, newline included.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and numbers always serialize");
        line.push(b'\n');
        line
    }

    /// Parses the content of the readiness pipe, read up to its end. `UnexpectedEof`: the shim died before it could
    /// answer.
    pub fn from_line(line: &[u8]) -> io::Result<Self> {
        match line.strip_suffix(b"\n") {
            Some(json) => Ok(serde_json::from_slice(json)?),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shim left without an answer")),
        }
    }

    /// Reads the readiness pipe to its end. Blocks.
    pub fn read_from(mut pipe: impl Read) -> io::Result<Self> {
        let mut line = Vec::new();
        pipe.read_to_end(&mut line)?;
        Self::from_line(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_answers_survive_the_pipe() {
        let ready = Outcome::Ready(Ready { pid: 7, pid_start: 8, shim_pid: 9, shim_start: 10, at: 11 });
        assert_eq!(
            ready.to_line(),
            b"{\"ready\":{\"pid\":7,\"pid_start\":8,\"shim_pid\":9,\"shim_start\":10,\"at\":11}}\n"
        );
        let failed = Outcome::Failed(Failed { step: Step::Run, message: "a \"b\"\nc".into(), runtime_status: Some(1) });
        for outcome in [ready, failed] {
            assert_eq!(Outcome::read_from(&outcome.to_line()[..]).unwrap(), outcome);
        }
    }

    #[test]
    fn an_incomplete_line_is_an_unexpected_eof() {
        for torn in [&b""[..], b"{\"ready\":{"] {
            assert_eq!(Outcome::from_line(torn).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
