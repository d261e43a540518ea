//! `process.json`: the complete description of a container for its shim. The daemon writes it before the shim is
//! started; the shim never changes it, and a shim that adopts reads the same file again.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The layout of `process.json` that this build writes and reads.
pub const PROCESS_VERSION: u32 = 1;

/// Where the shim finds its container and how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Always [`PROCESS_VERSION`]; a file with another number is refused.
    pub version: u32,
    /// The runtime's id of this start. It is unique to the start, so that a late call of the runtime cannot reach a
    /// later start.
    pub id: String,
    /// Absolute path of the OCI bundle (`config.json`).
    pub bundle: PathBuf,
    pub runtime: Runtime,
    /// The runtime's `--root`: one for all its containers, since some runtimes keep data there that is expensive to
    /// make anew.
    pub runtime_root: PathBuf,
    /// Journal sequence number of the `StartRequested` event this start belongs to.
    pub start: u64,
    /// The container has a terminal; its output is then one stream.
    #[serde(default)]
    pub terminal: bool,
    /// First size of the terminal, in characters. It has to be in the spec's `consoleSize` as well: a process that
    /// asks in its first moments is faster than the shim.
    #[serde(default)]
    pub console_size: Option<ConsoleSize>,
    /// Keep the container's input open for clients; otherwise it reads /dev/null.
    #[serde(default)]
    pub open_stdin: bool,
    /// Close the input when the first client that could write to it leaves.
    #[serde(default)]
    pub stdin_once: bool,
    /// Descriptor 4 is an already connected client, which gets everything from the first byte.
    #[serde(default)]
    pub first_client: bool,
    pub log: Log,
    /// Absolute path of the exit record, on storage that survives a reboot.
    pub exit_record: PathBuf,
    /// `cgroup.procs` files the shim moves itself into, best effort.
    #[serde(default)]
    pub cgroup_procs: Vec<PathBuf>,
    /// Counter of OOM kills in the container's cgroup.
    #[serde(default)]
    pub oom: Option<OomCounter>,
    /// How long one execution of the runtime may take, in milliseconds.
    pub runtime_deadline_ms: u64,
    #[serde(default)]
    pub systemd_cgroup: bool,
    /// Whether the end of the first process ends every other process of the container.
    pub pid_namespace: PidNamespace,
}

/// An OCI runtime with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Absolute path of the binary.
    pub path: PathBuf,
    /// Global arguments, put before the shim's own.
    #[serde(default)]
    pub args: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    pub width: u16,
    pub height: u16,
}

/// The container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum Log {
    /// Output is delivered to clients only.
    None,
    /// One JSON object a line: `log`, `stream`, `time`.
    JsonFile {
        /// The newest file; older ones are `<path>.1`, `<path>.2`, …
        path: PathBuf,
        /// Rotate before a file grows beyond this many bytes; 0 never rotates.
        #[serde(default)]
        max_size: u64,
        /// Files kept, the newest included; 0 and 1 both mean that one.
        #[serde(default)]
        max_files: u32,
    },
    /// Records of Kubernetes' container runtime interface: time, stream, `P` or `F`, text. Rotated from outside: the
    /// file is renamed, then `ReopenLog` is sent.
    Cri {
        /// The file; its directory exists.
        path: PathBuf,
    },
}

/// A kernel file that counts OOM kills of the container's cgroup. The file may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cgroup", rename_all = "kebab-case")]
pub enum OomCounter {
    /// `memory.oom_control` of cgroup v1.
    V1 { path: PathBuf },
    /// `memory.events` of cgroup v2.
    V2 { path: PathBuf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidNamespace {
    /// The container's first process is process 1 of its own namespace.
    Own,
    /// The host's, or another container's.
    Shared,
}

/// Why `process.json` could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot write the process description `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the process description `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the process description `{path}` is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("the process description `{path}` has layout {found}, this shim knows {known}")]
    Version { path: PathBuf, found: u32, known: u32 },
}

impl Process {
    /// Reads and checks `path`.
    pub fn read(path: &Path) -> Result<Self, ProcessError> {
        let named = || path.to_path_buf();
        let bytes = fs::read(path).map_err(|source| ProcessError::Read { path: named(), source })?;
        let versioned: Versioned =
            serde_json::from_slice(&bytes).map_err(|source| ProcessError::Parse { path: named(), source })?;
        if versioned.version != PROCESS_VERSION {
            return Err(ProcessError::Version { path: named(), found: versioned.version, known: PROCESS_VERSION });
        }
        serde_json::from_slice(&bytes).map_err(|source| ProcessError::Parse { path: named(), source })
    }

    /// Writes `path` (0600) by rename, so that a shim sees all of it or nothing. Not synced: it need not outlive
    /// the host's uptime.
    pub fn write(&self, path: &Path) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Write { path: path.to_path_buf(), source };
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let temporary = path.with_extension("json.new");
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(failed)
    }

    pub fn runtime_deadline(&self) -> Duration {
        Duration::from_millis(self.runtime_deadline_ms)
    }
}

impl OomCounter {
    /// How many processes the kernel has killed so far. `None` when the file is gone or has no such line (a cgroup
    /// without the controller, or a kernel before 4.13).
    pub fn read(&self) -> Option<u64> {
        let (Self::V1 { path } | Self::V2 { path }) = self;
        let text = fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok())
    }
}

#[derive(Deserialize)]
pub(crate) struct Versioned {
    pub version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process {
            version: PROCESS_VERSION,
            id: "c1".into(),
            bundle: "/b".into(),
            runtime: Runtime { path: "/usr/sbin/runc".into(), args: vec!["--debug".into()] },
            runtime_root: "/s/root".into(),
            start: 42,
            terminal: true,
            console_size: Some(ConsoleSize { width: 80, height: 24 }),
            open_stdin: true,
            stdin_once: false,
            first_client: true,
            log: Log::JsonFile { path: "/b/console.log".into(), max_size: 1 << 20, max_files: 3 },
            exit_record: "/b/exit".into(),
            cgroup_procs: vec!["/sys/fs/cgroup/x/cgroup.procs".into()],
            oom: Some(OomCounter::V1 { path: "/sys/fs/cgroup/memory/x/memory.oom_control".into() }),
            runtime_deadline_ms: 1_500,
            systemd_cgroup: false,
            pid_namespace: PidNamespace::Own,
        }
    }

    #[test]
    fn a_written_description_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process.json");
        process().write(&path).unwrap();
        assert_eq!(Process::read(&path).unwrap(), process());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn optional_fields_may_be_left_out() {
        let text = r#"{"version":1,"id":"a","bundle":"/b","runtime":{"path":"/r"},"runtime_root":"/s","start":1,"log":{"driver":"none"},
            "exit_record":"/b/exit","runtime_deadline_ms":10,"pid_namespace":"shared"}"#;
        let process: Process = serde_json::from_str(text).unwrap();
        assert!(process.runtime.args.is_empty());
        assert_eq!(process.log, Log::None);
        assert!(!process.terminal && process.oom.is_none());
    }

    #[test]
    fn each_log_is_read_back() {
        let path = || "/var/log/pods/a_b_c/d/0.log".into();
        for (log, text) in [
            (Log::None, r#"{"driver":"none"}"#),
            (Log::Cri { path: path() }, r#"{"driver":"cri","path":"/var/log/pods/a_b_c/d/0.log"}"#),
            (
                Log::JsonFile { path: path(), max_size: 0, max_files: 0 },
                r#"{"driver":"json-file","path":"/var/log/pods/a_b_c/d/0.log"}"#,
            ),
        ] {
            assert_eq!(serde_json::from_str::<Log>(text).unwrap(), log);
            assert_eq!(serde_json::from_str::<Log>(&serde_json::to_string(&log).unwrap()).unwrap(), log);
        }
    }

    #[test]
    fn another_layout_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process.json");
        fs::write(&path, r#"{"version":2,"entirely":"different"}"#).unwrap();
        assert!(matches!(Process::read(&path), Err(ProcessError::Version { found: 2, known: 1, .. })));
    }

    #[test]
    fn oom_kills_are_read_from_either_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n").unwrap();
        assert_eq!(OomCounter::V1 { path: path.clone() }.read(), Some(3));
        fs::write(&path, "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n").unwrap();
        assert_eq!(OomCounter::V2 { path: path.clone() }.read(), Some(1));
        assert_eq!(OomCounter::V2 { path: dir.path().join("absent") }.read(), None);
    }
}
