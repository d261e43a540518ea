//! The errors of a start, and the exit codes that shells use for them.

use std::io;

use super::{ANSWER_DEADLINE, BEGIN_DEADLINE, FILL_DEADLINE};
use crate::cause::chain;
use crate::definition::DefinitionError;
use crate::domain::id::ContainerId;
use crate::network::NetworkError;
use crate::rootfs::RootfsError;
use crate::runtime::RuntimeError;
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

/// The exit code that shells use for a program that could not be run, by the runtime's message: 127 for a missing one,
/// 126 for one that cannot be executed, 125 for every other failure.
pub(crate) fn exit_code_of(message: &str) -> u8 {
    let lower = message.to_ascii_lowercase();
    let contains = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    // The message counts from the program's name on: a missing path before it is the runtime's or the container's.
    let program =
        ["exec: \"", "exec /", "exec container process", "executable file", "open executable", "cannot find `"];
    let named = program.iter().filter_map(|text| lower.find(text)).min().map_or("", |at| &lower[at..]);
    // crun 1.2x gives nothing but the path, as the whole message.
    let about_program = if lower.starts_with("open `/") && !lower.contains('\n') { &lower } else { named };
    let missing = [
        "executable file not found",
        "no such file or directory",
        "not a directory",
        "too many levels of symbolic links",
        "executable file `",
    ];
    if missing.iter().any(|text| about_program.contains(text)) {
        127
    } else if contains(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "open executable: operation not permitted",
        "exists but it is not executable",
        "is not a regular file",
    ]) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of the runtimes at a run and at an exec of: a name and a path that are not there, a directory, a file
    /// that is not executable, a path below a file, links that lead round and nowhere, an empty name.
    #[test]
    fn each_runtimes_message_about_a_program_gives_the_shells_code() {
        for (text, code) in [
            // runc 1.1
            (
                "runc run failed: unable to start container process: exec: \"nope\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            ("runc run failed: unable to start container process: exec: \"/etc\": permission denied", 126),
            ("exec failed: unable to start container process: exec: \"/etc\": permission denied", 126),
            ("runc run failed: unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            ("exec failed: unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            (
                "runc run failed: unable to start container process: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            ("runc run failed: unable to start container process: exec: \"/bin/nox\": permission denied", 126),
            ("exec failed: unable to start container process: exec: \"/bin/nox\": permission denied", 126),
            (
                "runc run failed: unable to start container process: exec: \"nox\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nox\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "runc run failed: unable to start container process: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            ("runc run failed: unable to start container process: exec: \"\": executable file not found in $PATH", 127),
            ("exec failed: unable to start container process: exec: \"\": executable file not found in $PATH", 127),
            // runc 1.3
            (
                "runc run failed: unable to start container process: error during container init: exec: \"nope\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/etc\": is a directory",
                126,
            ),
            ("exec failed: unable to start container process: exec: \"/etc\": is a directory", 126),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/etc/passwd\": permission denied",
                126,
            ),
            ("exec failed: unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/bin/nox\": permission denied",
                126,
            ),
            ("exec failed: unable to start container process: exec: \"/bin/nox\": permission denied", 126),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"nox\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"nox\": executable file not found in $PATH", 127),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/loop\": stat /bin/loop: too many levels of symbolic links",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/bin/dangling\": stat /bin/dangling: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            (
                "exec failed: unable to start container process: exec: \"/dir/../nope2\": stat /dir/../nope2: no such file or directory",
                127,
            ),
            (
                "runc run failed: unable to start container process: error during container init: exec: \"\": executable file not found in $PATH",
                127,
            ),
            ("exec failed: unable to start container process: exec: \"\": executable file not found in $PATH", 127),
            // crun 1.8
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            ("executable file `/nope` not found in $PATH: No such file or directory", 127),
            ("open executable: Operation not permitted", 126),
            ("open executable: Permission denied", 126),
            ("open executable: Not a directory", 127),
            ("open executable: Too many levels of symbolic links", 127),
            ("executable file `/bin/dangling` not found in $PATH: No such file or directory", 127),
            ("executable file `/dir/../nope2` not found in $PATH: No such file or directory", 127),
            // crun 1.28
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            ("executable file `/nope` not found: No such file or directory", 127),
            ("the path `/etc` is not a regular file: Operation not permitted", 126),
            ("the path `/etc/passwd` exists but it is not executable: Operation not permitted", 126),
            ("open `/etc/passwd/x`: Not a directory", 127),
            ("the path `/bin/nox` exists but it is not executable: Operation not permitted", 126),
            ("the path `nox` exists but it is not executable: Operation not permitted", 126),
            ("open `/bin/loop`: Too many levels of symbolic links", 127),
            ("executable file `/bin/dangling` not found: No such file or directory", 127),
            ("executable file `/dir/../nope2` not found: No such file or directory", 127),
            ("cannot find `` in $PATH: No such file or directory", 127),
        ] {
            assert_eq!(exit_code_of(text), code, "{text}");
        }
    }

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
