//! One execution of a CNI plugin: environment and input by the specification, output read with limits, and an end at the
//! deadline, for its whole process group.
//!
//! The plugin's input is a file that is locked: the lock goes with the open file, so it lasts as long as the plugin has it,
//! also when the daemon dies meanwhile. Whoever comes next waits for the lock: two plugins never work on one attachment.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::orphan;
use crate::domain::text::cut;
use crate::failpoint;
use crate::runtime::locate;

/// What a plugin may answer.
const OUTPUT_LIMIT: u64 = 1 << 20;
/// What is kept of its complaints.
const ERROR_LIMIT: u64 = 64 << 10;
/// What is shown of them.
const SHOWN: usize = 600;
/// Something in the background may hold its output open.
const DRAIN: Duration = Duration::from_secs(1);
/// A killed process is gone soon after.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

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

/// Why a plugin has not done what was asked.
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
    /// In the specification's words.
    #[error("plugin `{kind}`: {verb} failed: {message} (code {code})")]
    Refused { kind: String, verb: &'static str, code: i64, message: String },
    #[error("plugin `{kind}`: {verb} ended with {status} and {said}")]
    Died { kind: String, verb: &'static str, status: ExitStatus, said: String },
    #[error("plugin `{kind}`: {verb} answered what cannot be used: {problem}: {said}")]
    Nonsense { kind: String, verb: &'static str, problem: String, said: String },
    #[error("plugin `{kind}`: another execution for the same attachment has not ended")]
    Busy { kind: String },
}

/// Who is attached, and where.
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
    /// Runs the plugin and answers what it printed for ADD. Cancelling kills it.
    pub async fn execute(&self, input: &Value) -> Result<Value, PluginError> {
        let path = find(self.kind, self.bin_dirs)?;
        let stdin = self.input(input).await?;
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
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn();
        let failed = |source| PluginError::Spawn { kind: self.kind.to_owned(), path: path.clone(), source };
        let mut running = Running { child: child.map_err(failed)? };
        // The file's last descriptor on our side goes with it.
        drop(command);
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

    /// The locked file. Written only by who has the lock.
    async fn input(&self, input: &Value) -> Result<File, PluginError> {
        let failed = |source| PluginError::Input { kind: self.kind.to_owned(), path: self.busy.to_owned(), source };
        let open = || File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(self.busy);
        let locked = lock(open, self.deadline).await.map_err(failed)?;
        let mut file = locked.ok_or_else(|| PluginError::Busy { kind: self.kind.to_owned() })?;
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.write_all(input.to_string().as_bytes())?;
            file.rewind()
        };
        write(&mut file).map_err(failed)?;
        Ok(file)
    }

    fn judge(&self, status: ExitStatus, output: &[u8], errors: &[u8]) -> Result<Value, PluginError> {
        let (kind, verb) = (|| self.kind.to_owned(), self.verb.word());
        if !status.success() {
            return Err(match serde_json::from_slice::<Refusal>(output) {
                Ok(refusal) => PluginError::Refused { kind: kind(), verb, code: refusal.code, message: refusal.text() },
                Err(_) => PluginError::Died { kind: kind(), verb, status, said: said(output, errors) },
            });
        }
        let nonsense =
            |problem: String| PluginError::Nonsense { kind: kind(), verb, problem, said: said(output, errors) };
        if output.len() as u64 > OUTPUT_LIMIT {
            return Err(nonsense(format!("more than {} KiB", OUTPUT_LIMIT >> 10)));
        }
        match self.verb {
            Verb::Add => match serde_json::from_slice(output) {
                Ok(value @ Value::Object(_)) => Ok(value),
                Ok(_) => Err(nonsense("not an object".to_owned())),
                Err(error) => Err(nonsense(error.to_string())),
            },
            // Nothing is expected, and what is said means nothing.
            Verb::Del => Ok(Value::Null),
        }
    }
}

/// Waits until no plugin works for this attachment any more: one may have outlived the daemon that ran it. One that has not
/// ended after `patience` is killed; `false` when even that does not end it.
pub async fn await_idle(busy: &Path, patience: Duration) -> io::Result<bool> {
    let idle = async |patience| match lock(|| File::options().read(true).open(busy), patience).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        locked => locked.map(|file| file.is_some()),
    };
    if idle(patience).await? {
        return Ok(true);
    }
    let path = busy.to_owned();
    let ending = tokio::task::spawn_blocking(move || orphan::end_readers(&path)).await;
    let count = ending.map_err(io::Error::other)??;
    tracing::warn!(call = %busy.display(), count, "a plugin that an earlier daemon has left does not end and is killed");
    idle(KILL_PATIENCE).await
}

/// Tried again and again: a plugin has it, or, for a moment, a process of ours that is just being started.
async fn lock(open: impl Fn() -> io::Result<File>, patience: Duration) -> io::Result<Option<File>> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    let file = open()?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => tokio::time::sleep(pause).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// A plugin at work. Whoever drops it ends it with all that it has started.
struct Running {
    child: Child,
}

struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Running {
    async fn finish(&mut self) -> io::Result<Ended> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let status = {
            let reading = async {
                tokio::join!(read(stdout, OUTPUT_LIMIT + 1, &mut output), read(stderr, ERROR_LIMIT, &mut errors));
            };
            tokio::pin!(reading);
            let mut wait = std::pin::pin!(self.child.wait());
            tokio::select! {
                status = &mut wait => {
                    let _ = tokio::time::timeout(DRAIN, &mut reading).await;
                    status?
                }
                () = &mut reading => wait.await?,
            }
        };
        Ok(Ended { status, output, errors })
    }

    async fn end(&mut self) {
        self.kill_group();
        if tokio::time::timeout(KILL_PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!(pid = self.child.id(), "a plugin was killed and does not end");
        }
    }

    fn kill_group(&self) {
        // `None` once it was waited for: the number may be another's then.
        let Some(pid) = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) else {
            return;
        };
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Up to a limit; what is beyond is read and forgotten, so that nobody waits with a full pipe.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    if (&mut from).take(limit).read_to_end(into).await.is_ok() {
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
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

fn said(output: &[u8], errors: &[u8]) -> String {
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
