//! The errors of a start, and the exit codes that shells use for them.

use std::io;

use crate::cause::chain;
use crate::definition::DefinitionError;
use crate::domain::id::ContainerId;
use crate::effects::deadlines::{ANSWER_DEADLINE, BEGIN_DEADLINE, FILL_DEADLINE};
use crate::network::NetworkError;
use crate::rootfs::RootfsError;
use crate::runtime::{RuntimeError, exit_code_of};
use crate::spec::SpecError;
use crate::spec::files::FilesError;
use crate::volume::FillError;

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Spec(#[from] SpecError),
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
    /// The runtime reported that it could not start the container.
    #[error("{message}")]
    Refused { message: String },
    /// The shim reported that the runtime did not run, or not to its end.
    #[error("{message}")]
    NotRun { message: String },
}

/// The exit code that shells use for this error, and its whole text.
pub(super) fn failure_of(error: &LaunchError) -> (u8, String) {
    let message = chain(error);
    // Only the runtime's own message about the command itself means 126 and 127.
    let code = if matches!(error, LaunchError::Refused { .. }) { exit_code_of(&message) } else { 125 };
    (code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_the_command_give_126_and_127() {
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
        for text in ["open `/a` in\nopen `/b`: Not a directory", "mount `/a`: open `/b`: Not a directory"] {
            assert_eq!(exit_code_of(text), 125, "{text}");
        }
        let not_run = LaunchError::NotRun { message: "cannot run the runtime: Exec format error".into() };
        assert_eq!(failure_of(&not_run).0, 125);
        let missing =
            LaunchError::Runtime(RuntimeError::Missing { name: "x".into(), path: "no such file or directory".into() });
        assert_eq!(failure_of(&missing).0, 125);
    }
}
