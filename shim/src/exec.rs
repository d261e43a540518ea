//! A further process in a container, held by a shim of its own: the files the daemon gives that shim, and those the
//! shim leaves.
//!
//! The directory of one exec is a [`StateDir`] with fewer files. Its life:
//!
//! 1. The daemon makes the directory, writes [`ExecProcess`] to `process.json` and the OCI process beside it, and
//!    starts the shim with [`crate::sys::spawn::start_exec`]. The shim writes `shim-pid`, starts the runtime, which
//!    waits for the process, and waits itself.
//! 2. [`crate::Request::Go`] on the shim's socket, and only that, makes it pass the process to the runtime. When the
//!    socket hangs up before, the shim kills the runtime and exits: nothing was run.
//! 3. The shim writes `pid` and answers [`crate::Frame::Ready`]; or it writes `exit` and answers
//!    [`crate::Frame::Failed`].
//! 4. When the process has ended the shim writes [`ExecRecord`] to `exit`, then sends the output that is left and
//!    [`crate::Frame::Exit`], and leaves. It removes nothing: the directory is the daemon's.
//!
//! An attached shim whose socket hangs up kills every process of its exec, writes `exit` and exits, unless it received
//! [`crate::Request::Release`] before. The process of a shim that was itself killed lives on; `pid` names it, or,
//! while it is being started, `gone` names the runtime.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::{ConsoleSize, ProcessError, Runtime, Versioned};
use crate::{ExitStatus, Failed, StateDir};

/// The layout of an exec's `process.json` that this build writes and reads.
pub const EXEC_VERSION: u32 = 1;
/// The mode on the shim's command line.
pub const EXEC: &str = "exec";
/// The go marker: written by the shim after `Go`, before the runtime gets the process to run. A pid file of the
/// runtime; empty where the runtime could not be started.
pub const GO_MARKER: &str = "gone";
/// The OCI process in an exec's directory.
pub const SPEC: &str = "spec.json";

/// Marker of an attached exec that outlives its client ([`crate::Request::Release`]).
pub const RELEASED: &str = "released";

/// The process of an exec, without its OCI part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecProcess {
    /// Always [`EXEC_VERSION`].
    pub version: u32,
    /// The id that the container's start has at the runtime.
    pub id: String,
    pub runtime: Runtime,
    /// The runtime's `--root`.
    pub runtime_root: PathBuf,
    #[serde(default)]
    pub systemd_cgroup: bool,
    pub runtime_deadline_ms: u64,
    #[serde(default)]
    pub terminal: bool,
    #[serde(default)]
    pub console_size: Option<ConsoleSize>,
    /// Without it the process reads an end of file at once; from a terminal, it reads no input.
    #[serde(default)]
    pub open_stdin: bool,
    /// The process outlives its client and the daemon; its output goes nowhere.
    #[serde(default)]
    pub detached: bool,
    /// `cgroup.procs` files that the shim of a longer process moves itself into, best effort.
    #[serde(default)]
    pub cgroup_procs: Vec<PathBuf>,
}

/// The exit record of an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRecord {
    /// Meaningless when `failed` is set.
    pub status: ExitStatus,
    /// Nanoseconds since 1970.
    pub at: u64,
    /// From when the process started.
    pub lasted_ms: u64,
    /// Set when the process was never started.
    #[serde(default)]
    pub failed: Option<Failed>,
}

impl ExecProcess {
    /// Reads and checks `process.json` of the directory.
    pub fn read(directory: &StateDir) -> Result<Self, ProcessError> {
        let path = directory.process();
        let bytes = fs::read(&path).map_err(|source| ProcessError::Read { path: path.clone(), source })?;
        let parsed = |source| ProcessError::Parse { path: path.clone(), source };
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(parsed)?;
        if version != EXEC_VERSION {
            return Err(ProcessError::Version { path, found: version, known: EXEC_VERSION });
        }
        serde_json::from_slice(&bytes).map_err(parsed)
    }

    /// Writes the file with mode 0600. Call it before the shim is started: a reader could see half of it.
    pub fn write(&self, directory: &StateDir) -> Result<(), ProcessError> {
        let path = directory.process();
        let bytes = serde_json::to_vec(self).expect("strings and numbers always serialize");
        write_private(&path, &bytes).map_err(|source| ProcessError::Write { path, source })
    }

    pub fn runtime_deadline(&self) -> Duration {
        Duration::from_millis(self.runtime_deadline_ms)
    }
}

impl ExecRecord {
    /// Writes `exit` by rename. Not synced: an exec ends with the host's uptime.
    pub fn write(&self, directory: &StateDir) -> io::Result<()> {
        let path = directory.exit_fallback();
        let temporary = path.with_extension("new");
        let bytes = serde_json::to_vec(self).expect("strings and numbers always serialize");
        write_private(&temporary, &bytes)?;
        fs::rename(&temporary, &path)
    }

    /// `None` when there is no record. Fails when the file cannot be read or parsed.
    pub fn read(directory: &StateDir) -> io::Result<Option<Self>> {
        match fs::read(directory.exit_fallback()) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Writes a file of an exec's directory, for root alone.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Step;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_written_description_is_read_back_and_private_to_root() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let process = ExecProcess {
            version: EXEC_VERSION,
            id: "c1".into(),
            runtime: Runtime { path: "/r".into(), args: vec![] },
            runtime_root: "/s/root".into(),
            systemd_cgroup: false,
            runtime_deadline_ms: 5,
            terminal: true,
            console_size: Some(ConsoleSize { width: 80, height: 24 }),
            open_stdin: true,
            detached: false,
            cgroup_procs: vec!["/c/cgroup.procs".into()],
        };
        process.write(&state).unwrap();
        assert_eq!(ExecProcess::read(&state).unwrap(), process);
        assert_eq!(fs::metadata(state.process()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(state.process(), r#"{"version":9}"#).unwrap();
        assert!(matches!(ExecProcess::read(&state), Err(ProcessError::Version { found: 9, known: 1, .. })));
    }

    #[test]
    fn a_written_record_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        assert_eq!(ExecRecord::read(&state).unwrap(), None);
        let failed = Failed { step: Step::Exec, message: "no".into(), runtime_status: Some(1) };
        for failed in [None, Some(failed)] {
            let record = ExecRecord { status: ExitStatus::Code(3), at: 7, lasted_ms: 9, failed };
            record.write(&state).unwrap();
            assert_eq!(ExecRecord::read(&state).unwrap(), Some(record));
        }
        fs::write(state.exit_fallback(), "{").unwrap();
        assert!(ExecRecord::read(&state).is_err());
    }
}
