//! Why a container could not be started, and what shells answer then.

use std::io;

use super::{ANSWER_DEADLINE, BEGIN_DEADLINE, FILL_DEADLINE};
use crate::cause::chain;
use crate::definition::DefinitionError;
use crate::domain::id::ContainerId;
use crate::effects::volumes::FillError;
use crate::network::NetworkError;
use crate::rootfs::{BeneathError, RootfsError};
use crate::runtime::RuntimeError;
use crate::spec::SpecError;
use crate::spec::files::FilesError;

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("cannot make the working directory `{path}` of the container")]
    Workdir { path: String, source: BeneathError },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error("the container's volumes were not filled from its image within {} s; mount them with `nocopy` to begin with empty ones", FILL_DEADLINE.as_secs())]
    SlowFill,
    #[error("container {id}, whose {what} namespace is to be joined, is not running")]
    NotJoinable { id: ContainerId, what: &'static str },
    #[error("cannot find the shim `{path}`; install it beside isulad or set `shim` in daemon.json")]
    ShimMissing { path: std::path::PathBuf },
    #[error("cannot {what} for the container")]
    State { what: &'static str, source: io::Error },
    #[error("cannot describe the process to the shim")]
    Describe(#[source] isulad_shim::process::ProcessError),
    #[error("cannot start the shim `{path}`")]
    Spawn { path: std::path::PathBuf, source: io::Error },
    #[error("the shim did not answer within {} s", ANSWER_DEADLINE.as_secs())]
    NoAnswer,
    #[error("the shim ended without an answer; see `{log}`")]
    ShimDied { log: std::path::PathBuf },
    #[error("the preparation of the start did not finish within {} s: a file system or mount does not answer", BEGIN_DEADLINE.as_secs())]
    Slow,
    #[error("a copy of the container's files is under way and does not end")]
    Copies,
    #[error("something is left of the last run: {problem}")]
    Leftover { problem: String },
    /// The runtime ran and said so.
    #[error("{message}")]
    Refused { message: String },
    /// The shim said so: the runtime did not run, or not to its end.
    #[error("{message}")]
    NotRun { message: String },
}

/// The exit code shells expect, and the whole text.
pub(super) fn failure_of(error: &LaunchError) -> (u8, String) {
    let message = chain(error);
    // Only the runtime's own words about the command itself mean 126 and 127.
    let code = if matches!(error, LaunchError::Refused { .. }) { exit_code_of(&message) } else { 125 };
    (code, message)
}

/// What shells answer for a program that could not be run, by the runtime's own words.
pub fn exit_code_of(message: &str) -> u8 {
    let lower = message.to_ascii_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    // A missing path that is not the program's, which is named before, is the runtime's or the container's trouble.
    let program = ["exec: \"", "exec /", "exec container process", "executable file", "open executable"];
    let about_program = program.iter().filter_map(|text| lower.find(text)).min().map_or("", |at| &lower[at..]);
    let missing = ["executable file not found", "no such file or directory", "not a directory", "executable file `"];
    if missing.iter().any(|text| about_program.contains(text)) {
        127
    } else if says(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "open executable: operation not permitted",
    ]) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runtimes_words_about_the_command_give_126_and_127() {
        for (text, code) in [
            ("exec: \"nope\": executable file not found in $PATH: unknown", 127),
            ("exec /nope: no such file or directory", 127),
            ("executable file `nope` not found in $PATH", 127),
            ("open executable: Permission denied", 126),
            ("open executable: Operation not permitted", 126),
            ("exec: \"/etc\": is a directory: permission denied", 126),
            ("exec: \"/no/such\": stat /no/such: no such file or directory: unknown", 127),
            ("container with id x: open /run/x/state.json: no such file or directory", 125),
            ("open /proc/7/ns/mnt: no such file or directory: cannot run the executable file", 125),
            ("unable to apply cgroup configuration", 125),
        ] {
            let error = LaunchError::Refused { message: text.into() };
            assert_eq!(failure_of(&error).0, code, "{text}");
        }
        let not_run = LaunchError::NotRun { message: "cannot run the runtime: Exec format error".into() };
        assert_eq!(failure_of(&not_run).0, 125);
        let missing =
            LaunchError::Runtime(RuntimeError::Missing { name: "x".into(), path: "no such file or directory".into() });
        assert_eq!(failure_of(&missing).0, 125);
    }
}
