//! The runtime binary, run directly for all but making a process in a container, which is the shim's part. Each call
//! has a deadline and ends with the daemon, and its error text is passed on.

mod exit_code;
pub(crate) mod instance;
mod message;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use engine_host::fs::locate;
use serde::Deserialize;
use tokio::process::Command;

use crate::helper::{self, HelperError, Limits};
pub(crate) use exit_code::exit_code_of;
pub(crate) use instance::Instance;

/// One OCI runtime with runc's command line.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub name: String,
    pub path: PathBuf,
    pub args: Vec<String>,
}

/// The deadline of a call: a runtime that hangs affects its own container only.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// The allowed size of a runtime's answer, and the bytes kept of its stderr.
const LIMITS: Limits = Limits { deadline: DEADLINE, output: 1 << 20, errors: 64 << 10 };

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

/// A container's state according to the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RuntimeState {
    #[serde(default)]
    pub pid: i32,
    /// creating, created, running, paused, stopped
    pub status: String,
}

impl Runtime {
    /// Finds the binary: an absolute path as it is, a name along PATH and the usual directories.
    pub(crate) fn find(name: &str, path: &Path, args: &[String]) -> Result<Self, RuntimeError> {
        let missing = || RuntimeError::Missing { name: name.to_owned(), path: path.to_owned() };
        let path = locate(path).ok_or_else(missing)?;
        Ok(Self { name: name.to_owned(), path, args: args.to_vec() })
    }

    pub(crate) async fn pause(&self, of: &Instance) -> Result<(), RuntimeError> {
        self.run(of, &["pause"], &[]).await.map(drop)
    }

    pub(crate) async fn resume(&self, of: &Instance) -> Result<(), RuntimeError> {
        self.run(of, &["resume"], &[]).await.map(drop)
    }

    /// Changes the limits of a running or paused container. Limits missing in the JSON stay as they are.
    pub(crate) async fn update(&self, of: &Instance, limits: &[u8]) -> Result<(), RuntimeError> {
        self.run(of, &["update", "--resources", "-"], limits).await.map(drop)
    }

    /// Removes the runtime's own records of a stopped container. An unknown container is no error.
    pub(crate) async fn delete(&self, of: &Instance) -> Result<(), RuntimeError> {
        self.delete_with(of, &["delete"]).await
    }

    /// Kills the remaining processes first. Used only where needed: some runtimes wait then, even for a stopped
    /// container.
    pub(crate) async fn delete_by_force(&self, of: &Instance) -> Result<(), RuntimeError> {
        match self.delete(of).await {
            Err(RuntimeError::Failed { .. }) => self.delete_with(of, &["delete", "--force"]).await,
            other => other,
        }
    }

    async fn delete_with(&self, of: &Instance, call: &[&str]) -> Result<(), RuntimeError> {
        if !self.has_record(of, call[0])? {
            return Ok(());
        }
        match self.run(of, call, &[]).await {
            Err(RuntimeError::Failed { .. }) if of.directory().try_exists().is_ok_and(|there| !there) => Ok(()),
            other => other.map(drop),
        }
    }

    /// `None` when the runtime does not know the container.
    pub(crate) async fn state(&self, of: &Instance) -> Result<Option<RuntimeState>, RuntimeError> {
        if !self.has_record(of, "state")? {
            return Ok(None);
        }
        match self.run(of, &["state"], &[]).await {
            Ok(output) => serde_json::from_slice(&output).map(Some).map_err(|error| RuntimeError::Failed {
                name: self.name.clone(),
                verb: "state".to_owned(),
                message: format!("its answer is not valid: {error}"),
            }),
            // runc and crun both report this for a container that was never made or is half deleted.
            Err(RuntimeError::Failed { message, .. }) if message.contains("does not exist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the runtime has a record. A directory that cannot be read is an error, not an absent one.
    fn has_record(&self, of: &Instance, verb: &str) -> Result<bool, RuntimeError> {
        of.directory().try_exists().map_err(|error| RuntimeError::Failed {
            name: self.name.clone(),
            verb: verb.to_owned(),
            message: format!("cannot look for `{}`: {error}", of.directory().display()),
        })
    }

    async fn run(&self, of: &Instance, call: &[&str], input: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        let (name, verb) = (|| self.name.clone(), || call[0].to_owned());
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .arg("--root")
            .arg(&of.root)
            .args(call)
            .arg(&of.id)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = helper::run(command, input, LIMITS).await.map_err(|error| match error {
            HelperError::Slow => RuntimeError::Deadline { name: name(), verb: verb(), deadline: DEADLINE },
            HelperError::TooMuch => {
                let message = format!("its answer is longer than {} KiB", LIMITS.output >> 10);
                RuntimeError::Failed { name: name(), verb: verb(), message }
            }
            HelperError::Io(source) if source.kind() == io::ErrorKind::NotFound => {
                RuntimeError::Missing { name: name(), path: self.path.clone() }
            }
            HelperError::Io(source) => {
                RuntimeError::Spawn { name: name(), path: self.path.clone(), verb: verb(), source }
            }
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let message = message::error_text(&String::from_utf8_lossy(&output.stderr));
        let message = if message.is_empty() { output.status.to_string() } else { message };
        Err(RuntimeError::Failed { name: name(), verb: verb(), message })
    }
}
