//! One execution of a CNI plugin: environment and input by the specification, and the meaning of its answer.

mod input;
mod running;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use engine_domain::text::cut;
use engine_host::failpoint;
use engine_host::fs::locate;
pub use input::{Idle, await_idle};
use running::{Ended, OUTPUT_LIMIT, Running};

/// The limit for its output in messages.
const SHOWN: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Add,
    Del,
}

impl Verb {
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        }
    }
}

/// The failures of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error(
        "cannot find the CNI plugin `{kind}` in {dirs}; install it (Debian: containernetworking-plugins) or set `cni-bin-dir` in daemon.json"
    )]
    Missing { kind: String, dirs: String },
    #[error("plugin `{kind}`: cannot run `{path}`")]
    Spawn { kind: String, path: PathBuf, source: io::Error },
    #[error("plugin `{kind}`: its input `{path}` cannot be written")]
    Input { kind: String, path: PathBuf, source: io::Error },
    #[error("plugin `{kind}`: {verb} did not finish within {} s and was killed", deadline.as_secs_f32())]
    Deadline { kind: String, verb: &'static str, deadline: Duration },
    /// A refusal in the form of the specification.
    #[error("plugin `{kind}`: {verb} failed: {message} (code {code})")]
    Refused { kind: String, verb: &'static str, code: i64, message: String },
    #[error("plugin `{kind}`: {verb} ended with {status} and {answer}")]
    Died { kind: String, verb: &'static str, status: ExitStatus, answer: String },
    #[error("plugin `{kind}`: {verb} answered what cannot be used: {problem}: {answer}")]
    Nonsense { kind: String, verb: &'static str, problem: String, answer: String },
    #[error("plugin `{kind}`: another execution for the same attachment has not ended and has `{path}` locked")]
    Busy { kind: String, path: PathBuf },
}

/// The attachment that the plugin is run for.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub verb: Verb,
    pub kind: &'a str,
    pub container: &'a str,
    /// `None` when it is gone.
    pub netns: Option<&'a Path>,
    pub ifname: &'a str,
    /// `K=V;K=V`
    pub args: &'a str,
    pub bin_dirs: &'a [PathBuf],
    pub deadline: Duration,
    /// Becomes the plugin's input.
    pub busy: &'a Path,
}

/// The binary of a plugin.
pub fn find(kind: &str, bin_dirs: &[PathBuf]) -> Result<PathBuf, PluginError> {
    let found = bin_dirs.iter().find_map(|dir| locate(&dir.join(kind)));
    found.ok_or_else(|| PluginError::Missing { kind: kind.to_owned(), dirs: listed(bin_dirs) })
}

fn listed(dirs: &[PathBuf]) -> String {
    let dirs: Vec<_> = dirs.iter().map(|dir| format!("`{}`", dir.display())).collect();
    dirs.join(", ")
}

impl Call<'_> {
    /// Runs the plugin and returns its result, which is null for DEL. Cancelling kills it.
    pub async fn execute(&self, input: &Value) -> Result<Value, PluginError> {
        let path = self.find().await?;
        let input = self.input(input).await?;
        let failed = |source| PluginError::Spawn { kind: self.kind.to_owned(), path: path.clone(), source };
        let search = std::env::join_paths(self.bin_dirs).unwrap_or_default();
        let mut command = Command::new(&path);
        command
            .env("CNI_COMMAND", self.verb.word())
            .env("CNI_CONTAINERID", self.container)
            .env("CNI_NETNS", self.netns.unwrap_or(Path::new("")))
            .env("CNI_IFNAME", self.ifname)
            .env("CNI_ARGS", self.args)
            .env("CNI_PATH", search)
            .env_remove(failpoint::VARIABLE)
            .current_dir("/")
            .stdin(Stdio::from(input.try_clone().map_err(failed)?))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running::begin(command, input).map_err(failed)?;
        let ended = tokio::time::timeout(self.deadline, running.finish()).await;
        let Ended { status, output, errors } = match ended {
            Ok(ended) => ended.map_err(failed)?,
            Err(_) => {
                running.end().await;
                return Err(PluginError::Deadline {
                    kind: self.kind.to_owned(),
                    verb: self.verb.word(),
                    deadline: self.deadline,
                });
            }
        };
        self.judge(status, &output, &errors)
    }

    async fn find(&self) -> Result<PathBuf, PluginError> {
        let (kind, dirs) = (self.kind.to_owned(), self.bin_dirs.to_vec());
        let finding = tokio::task::spawn_blocking(move || find(&kind, &dirs)).await;
        finding.unwrap_or_else(|panic| {
            let source = io::Error::other(panic);
            Err(PluginError::Spawn { kind: self.kind.to_owned(), path: self.kind.into(), source })
        })
    }

    async fn input(&self, input: &Value) -> Result<std::fs::File, PluginError> {
        let locked = input::write(self.busy, input.to_string(), self.deadline).await;
        let failed = |source| PluginError::Input { kind: self.kind.to_owned(), path: self.busy.to_owned(), source };
        locked
            .map_err(failed)?
            .ok_or_else(|| PluginError::Busy { kind: self.kind.to_owned(), path: self.busy.to_owned() })
    }

    fn judge(&self, status: ExitStatus, output: &[u8], errors: &[u8]) -> Result<Value, PluginError> {
        let (kind, verb) = (|| self.kind.to_owned(), self.verb.word());
        if !status.success() {
            return Err(match serde_json::from_slice::<Refusal>(output) {
                Ok(refusal) => PluginError::Refused { kind: kind(), verb, code: refusal.code, message: refusal.text() },
                Err(_) => PluginError::Died { kind: kind(), verb, status, answer: answer(output, errors) },
            });
        }
        let nonsense =
            |problem: String| PluginError::Nonsense { kind: kind(), verb, problem, answer: answer(output, errors) };
        if output.len() as u64 > OUTPUT_LIMIT {
            return Err(nonsense(format!("more than {} KiB", OUTPUT_LIMIT >> 10)));
        }
        match self.verb {
            Verb::Add => match serde_json::from_slice(output) {
                Ok(value @ Value::Object(_)) => Ok(value),
                Ok(_) => Err(nonsense("not an object".to_owned())),
                Err(error) => Err(nonsense(error.to_string())),
            },
            // DEL has no result; its output is ignored.
            Verb::Del => Ok(Value::Null),
        }
    }
}

/// The specification's error.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: i64,
    msg: String,
    #[serde(default)]
    details: String,
}

impl Refusal {
    fn text(&self) -> String {
        let details = if self.details.is_empty() { String::new() } else { format!("; {}", self.details) };
        shown(&format!("{}{details}", self.msg))
    }
}

fn answer(output: &[u8], errors: &[u8]) -> String {
    let words = if errors.trim_ascii().is_empty() { output } else { errors };
    let words = words.trim_ascii();
    if words.is_empty() {
        return "said nothing".to_owned();
    }
    format!("said `{}`", shown(&String::from_utf8_lossy(&words[..words.len().min(4 * SHOWN)])))
}

/// On one line and not too long.
fn shown(text: &str) -> String {
    let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(&clean, SHOWN).to_owned()
}
