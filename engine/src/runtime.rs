//! The runtime binary, run directly: everything but making a process in a container, which is the shim's. Each call
//! has a deadline, and what it says on failure is passed on whole.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use isulad_shim::StateDir;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::config::RuntimeEntry;

/// One OCI runtime with runc's command line.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    pub args: Vec<String>,
}

/// Longest a call may take: a runtime that hangs hurts its own container only.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("runtime `{name}`: cannot find `{path}`; install it or set `runtimes` in daemon.json")]
    Missing { name: String, path: PathBuf },
    #[error("runtime `{name}`: cannot run `{path} {verb}`")]
    Spawn { name: String, path: PathBuf, verb: String, source: io::Error },
    #[error("runtime `{name}`: `{verb}` did not finish within {} s and was killed", deadline.as_secs())]
    Deadline { name: String, verb: String, deadline: Duration },
    #[error("runtime `{name}`: `{verb}` failed: {message}")]
    Failed { name: String, verb: String, message: String },
}

/// What the runtime knows of a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RuntimeState {
    #[serde(default)]
    pub pid: i32,
    /// creating, created, running, paused, stopped
    pub status: String,
}

impl Runtime {
    /// Finds the binary: an absolute path as it is, a name along PATH and the usual directories.
    pub fn find(name: &str, entry: &RuntimeEntry) -> Result<Self, RuntimeError> {
        let missing = || RuntimeError::Missing { name: name.to_owned(), path: entry.path.clone() };
        let path = locate(&entry.path).ok_or_else(missing)?;
        Ok(Self { name: name.to_owned(), path, args: entry.args.clone() })
    }

    pub async fn pause(&self, state: &StateDir, id: &str) -> Result<(), RuntimeError> {
        self.run(state, &["pause", id]).await.map(drop)
    }

    pub async fn resume(&self, state: &StateDir, id: &str) -> Result<(), RuntimeError> {
        self.run(state, &["resume", id]).await.map(drop)
    }

    /// Changes the limits of a container that runs or is paused. What the JSON does not name stays as it is.
    pub async fn update(&self, state: &StateDir, id: &str, limits: &[u8]) -> Result<(), RuntimeError> {
        self.run_with(state, &["update", "--resources", "-", id], limits).await.map(drop)
    }

    /// Kills what is left and removes the runtime's own records. A container it does not know is fine.
    pub async fn delete(&self, state: &StateDir, id: &str) -> Result<(), RuntimeError> {
        if !state.runtime_root().join(id).exists() {
            return Ok(());
        }
        match self.run(state, &["delete", "--force", id]).await {
            Err(RuntimeError::Failed { .. }) if !state.runtime_root().join(id).exists() => Ok(()),
            other => other.map(drop),
        }
    }

    /// `None` when it does not know the container.
    pub async fn state(&self, state: &StateDir, id: &str) -> Result<Option<RuntimeState>, RuntimeError> {
        if !state.runtime_root().join(id).exists() {
            return Ok(None);
        }
        match self.run(state, &["state", id]).await {
            Ok(output) => serde_json::from_slice(&output).map(Some).map_err(|error| RuntimeError::Failed {
                name: self.name.clone(),
                verb: "state".to_owned(),
                message: format!("its answer is not valid: {error}"),
            }),
            // runc and crun both say so of what was never made or is half deleted.
            Err(RuntimeError::Failed { message, .. }) if message.contains("does not exist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn run(&self, state: &StateDir, call: &[&str]) -> Result<Vec<u8>, RuntimeError> {
        self.run_with(state, call, &[]).await
    }

    async fn run_with(&self, state: &StateDir, call: &[&str], input: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        let verb = || call[0].to_owned();
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .arg("--root")
            .arg(state.runtime_root())
            .args(call)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RuntimeError::Missing { name: self.name.clone(), path: self.path.clone() },
            _ => RuntimeError::Spawn { name: self.name.clone(), path: self.path.clone(), verb: verb(), source },
        })?;
        let stdin = child.stdin.take();
        let running = async {
            if let Some(mut stdin) = stdin {
                // One that does not read it says why, which is the better complaint.
                let _ = stdin.write_all(input).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(DEADLINE, running)
            .await
            .map_err(|_| RuntimeError::Deadline { name: self.name.clone(), verb: verb(), deadline: DEADLINE })?
            .map_err(|source| RuntimeError::Spawn {
                name: self.name.clone(),
                path: self.path.clone(),
                verb: verb(),
                source,
            })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let message = if message.is_empty() { output.status.to_string() } else { message };
        Err(RuntimeError::Failed { name: self.name.clone(), verb: verb(), message })
    }
}

/// An executable file for this path or name.
pub fn locate(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runnable =
        |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if path.is_absolute() {
        return runnable(path).then(|| path.to_owned());
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&search).chain(usual).map(|dir| dir.join(path)).find(|path| runnable(path))
}
