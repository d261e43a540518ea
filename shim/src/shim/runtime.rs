//! The runtime's command line, and the message of a runtime that fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use isulad_shim::sys::spawn;
use isulad_shim::{ExecProcess, ExitStatus, Failed, StateDir, Step};

use super::Shim;
use super::reaper::Reaper;
use super::runtime_log;

/// How long killed processes may take to end before they are left to process 1.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Descriptor from which a runtime reads the process to start in a container.
const SPEC_FD: RawFd = 3;

/// The descriptors a runtime gets as its standard input, output and error.
pub(crate) type Stdio<'a> = [BorrowedFd<'a>; 3];

/// Settings that every call of the runtime has in common.
struct Tool<'a> {
    runtime: &'a isulad_shim::process::Runtime,
    root: PathBuf,
    log: PathBuf,
    systemd_cgroup: bool,
    deadline: Duration,
}

/// The global arguments and one operation.
pub(crate) struct Call<'a> {
    tool: Tool<'a>,
    step: Step,
    args: Vec<OsString>,
}

impl<'a> Call<'a> {
    /// Every call of a container's shim belongs to the step `run`, also `delete`.
    fn new(shim: &'a Shim, operation: &str) -> Self {
        let tool = Tool {
            runtime: &shim.process.runtime,
            root: shim.process.runtime_root.clone(),
            log: shim.state.runtime_log(),
            systemd_cgroup: shim.process.systemd_cgroup,
            deadline: shim.process.runtime_deadline(),
        };
        Self::of(tool, Step::Run, operation)
    }

    fn of(tool: Tool<'a>, step: Step, operation: &str) -> Self {
        let mut args: Vec<OsString> = vec![tool.runtime.path.clone().into()];
        args.extend(tool.runtime.args.iter().map(Into::into));
        args.extend(["--root".into(), (&tool.root).into()]);
        args.extend(["--log".into(), (&tool.log).into()]);
        // With JSON, crun would write its log entries to the container's output when it cannot execute the program.
        args.extend(["--log-format".into(), "text".into()]);
        if tool.systemd_cgroup {
            args.push("--systemd-cgroup".into());
        }
        args.push(operation.into());
        Self { tool, step, args }
    }

    /// `run --detach`: makes the container, starts it and leaves.
    pub(super) fn run(shim: &'a Shim, console_socket: Option<PathBuf>) -> Self {
        let mut call = Self::new(shim, "run");
        call.args.push("--detach".into());
        call.args.extend(["--bundle".into(), shim.process.bundle.clone().into()]);
        call.args.extend(["--pid-file".into(), shim.state.file(isulad_shim::state_dir::RUNTIME_PID).into()]);
        if let Some(path) = console_socket {
            call.args.extend(["--console-socket".into(), path.into()]);
        }
        call.args.push((&shim.process.id).into());
        call
    }

    /// `exec --detach`: starts the process and exits. It waits for the process description on the descriptor
    /// [`SPEC_FD`]. Paths are in the exec's directory, which is the working directory.
    pub(super) fn exec(directory: &StateDir, process: &'a ExecProcess, console_socket: Option<PathBuf>) -> Self {
        let tool = Tool {
            runtime: &process.runtime,
            root: process.runtime_root.clone(),
            log: directory.runtime_log(),
            systemd_cgroup: process.systemd_cgroup,
            deadline: process.runtime_deadline(),
        };
        let mut call = Self::of(tool, Step::Exec, "exec");
        call.args.push("--detach".into());
        call.args.extend(["--process".into(), format!("/proc/self/fd/{SPEC_FD}").into()]);
        call.args.extend(["--pid-file".into(), directory.file(isulad_shim::state_dir::RUNTIME_PID).into()]);
        if let Some(path) = console_socket {
            call.args.extend(["--console-socket".into(), path.into()]);
        }
        call.args.push((&process.id).into());
        call
    }

    /// `--force` kills running processes first; some runtimes then wait even where none runs.
    fn delete(shim: &'a Shim, force: bool) -> Self {
        let mut call = Self::new(shim, "delete");
        call.args.extend(force.then(|| "--force".into()));
        call.args.push((&shim.process.id).into());
        call
    }

    /// Starts the runtime; returns its pid. The runtime is killed when the shim dies, so that a later shim never meets
    /// a call in progress.
    pub(super) fn spawn(&self, stdio: Stdio<'_>) -> Result<i32, Failed> {
        let [input, output, error] = stdio;
        self.spawned(|path, args| spawn::spawn_dependent(path, args, &[(input, 0), (output, 1), (error, 2)]))
    }

    /// The same with a pipe to read the process from. The runtime outlives the shim: the daemon, which knows it, waits
    /// for the result of a detached exec, and kills the runtime of any other.
    pub(super) fn spawn_reading(&self, stdio: Stdio<'_>, spec: BorrowedFd<'_>) -> Result<i32, Failed> {
        let [input, output, error] = stdio;
        self.spawned(|path, args| spawn::spawn(path, args, &[(input, 0), (output, 1), (error, 2), (spec, SPEC_FD)]))
    }

    fn spawned(&self, start: impl FnOnce(&Path, &[&OsStr]) -> io::Result<i32>) -> Result<i32, Failed> {
        let args: Vec<&OsStr> = self.args.iter().map(AsRef::as_ref).collect();
        let path = &self.tool.runtime.path;
        start(path, &args)
            .map_err(|error| failed(self.step, format!("cannot run the runtime `{}`: {error}", path.display())))
    }

    /// Waits for the runtime within its deadline; a runtime that takes longer is killed with all it started. `stderr`
    /// reads the runtime's standard error.
    pub(super) async fn wait(&self, pid: i32, reaper: &Reaper, stderr: impl FnOnce() -> String) -> Result<(), Failed> {
        let tool = &self.tool;
        let Ok(status) = tokio::time::timeout(tool.deadline, reaper.only(pid)).await else {
            Reaper::kill_descendants(KILL_LIMIT);
            let (path, step) = (tool.runtime.path.display(), self.step.as_str());
            let seconds = tool.deadline.as_secs_f64();
            return Err(failed(
                self.step,
                format!("the runtime `{path}` did not finish `{step}` within {seconds} s and was killed"),
            ));
        };
        let status = status.map_err(|error| failed(self.step, format!("cannot wait for the runtime: {error}")))?;
        if status == ExitStatus::Code(0) {
            return Ok(());
        }
        let message = self.logged_errors().unwrap_or_else(|| match stderr().trim() {
            "" => match status {
                ExitStatus::Code(code) => format!("the runtime left with code {code} and said nothing"),
                ExitStatus::Signal(signal) => format!("the runtime was killed by signal {signal}"),
                ExitStatus::Unknown => "the runtime failed".into(),
            },
            text => text.into(),
        });
        Err(Failed { step: self.step, message, runtime_status: status.code() })
    }

    /// The errors in the runtime's own log, whole.
    fn logged_errors(&self) -> Option<String> {
        let text = fs::read(&self.tool.log).ok()?;
        runtime_log::errors_in(&String::from_utf8_lossy(&text))
    }
}

/// The state of a container that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitState {
    /// The container's first process has ended.
    Ended,
    /// Its start has failed; whether a process exists is unknown.
    Unknown,
}

/// Deletes the container at the runtime, if the runtime has it, within the deadline. It is the last resort, so its own
/// failure is only logged.
pub(crate) async fn delete(shim: &Shim, init: InitState, reaper: &Reaper) {
    // A runtime usually cleans up after its own failed start.
    if !shim.process.runtime_root.join(&shim.process.id).exists() {
        return;
    }
    let deleting = async {
        if init == InitState::Ended && attempt_delete(shim, false, reaper).await.is_ok() {
            return;
        }
        if let Err(error) = attempt_delete(shim, true, reaper).await {
            eprintln!("isulad-shim: the runtime did not delete the container: {error}");
        }
    };
    if tokio::time::timeout(shim.process.runtime_deadline(), deleting).await.is_err() {
        eprintln!("isulad-shim: the runtime did not finish `delete` in time and was killed");
        Reaper::kill_descendants(KILL_LIMIT);
    }
}

async fn attempt_delete(shim: &Shim, force: bool, reaper: &Reaper) -> Result<(), String> {
    let (null, call) = (io::stdin(), Call::delete(shim, force));
    let null = null.as_fd();
    // Removes log entries of an earlier failure.
    let _ = shim.state.remove(isulad_shim::state_dir::RUNTIME_LOG);
    let pid = call.spawn([null, null, null]).map_err(|error| error.message)?;
    match reaper.until(pid).await {
        Ok(ExitStatus::Code(0)) => Ok(()),
        Ok(_) => Err(call.logged_errors().unwrap_or_else(|| "it logged no error".into())),
        Err(error) => Err(format!("cannot wait for it: {error}")),
    }
}

pub(crate) fn failed(step: Step, message: String) -> Failed {
    Failed { step, message, runtime_status: None }
}
