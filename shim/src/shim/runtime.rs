//! The runtime's command line, and what it says when it fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use isulad_shim::sys::spawn;
use isulad_shim::{ExecProcess, ExitStatus, Failed, StateDir, Step};

use super::Shim;
use super::reaper::Reaper;

/// How long killed processes may take to go before they are left to process 1.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Where a runtime finds the process that it shall start in a container.
const SPEC_FD: RawFd = 3;

/// The descriptors a runtime gets as its standard input, output and error.
pub(crate) type Stdio<'a> = [BorrowedFd<'a>; 3];

/// What every call of it has in common.
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
    fn new(shim: &'a Shim, step: Step, operation: &str) -> Self {
        let tool = Tool {
            runtime: &shim.process.runtime,
            root: shim.state.runtime_root(),
            log: shim.state.runtime_log(),
            systemd_cgroup: shim.process.systemd_cgroup,
            deadline: shim.process.runtime_deadline(),
        };
        Self::of(tool, step, operation)
    }

    fn of(tool: Tool<'a>, step: Step, operation: &str) -> Self {
        let mut args: Vec<OsString> = vec![tool.runtime.path.clone().into()];
        args.extend(tool.runtime.args.iter().map(Into::into));
        args.extend(["--root".into(), (&tool.root).into()]);
        args.extend(["--log".into(), (&tool.log).into()]);
        args.extend(["--log-format".into(), "json".into()]);
        if tool.systemd_cgroup {
            args.push("--systemd-cgroup".into());
        }
        args.push(operation.into());
        Self { tool, step, args }
    }

    /// `run --detach` or `create`: both make the container and leave.
    pub fn create(shim: &'a Shim, step: Step, console_socket: Option<PathBuf>) -> Self {
        let mut call = Self::new(shim, step, if step == Step::Run { "run" } else { "create" });
        if step == Step::Run {
            call.args.push("--detach".into());
        }
        call.args.extend(["--bundle".into(), shim.process.bundle.clone().into()]);
        call.args.extend(["--pid-file".into(), shim.state.file(isulad_shim::state_dir::RUNTIME_PID).into()]);
        if shim.process.no_pivot {
            call.args.push("--no-pivot".into());
        }
        if let Some(path) = console_socket {
            call.args.extend(["--console-socket".into(), path.into()]);
        }
        call.args.push((&shim.process.id).into());
        call
    }

    /// `exec --detach`: starts the process and leaves. What to start it reads from the descriptor [`SPEC_FD`], and waits for
    /// it. Paths of the exec's directory, which is the working directory.
    pub fn exec(directory: &StateDir, process: &'a ExecProcess, console_socket: Option<PathBuf>) -> Self {
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

    pub fn start(shim: &'a Shim) -> Self {
        let mut call = Self::new(shim, Step::Start, "start");
        call.args.push((&shim.process.id).into());
        call
    }

    pub fn delete(shim: &'a Shim) -> Self {
        let mut call = Self::new(shim, Step::Start, "delete");
        call.args.extend(["--force".into(), (&shim.process.id).into()]);
        call
    }

    /// Starts the runtime; returns its pid.
    pub fn spawn(&self, stdio: Stdio<'_>) -> Result<i32, Failed> {
        let [input, output, error] = stdio;
        self.spawn_with(&[(input, 0), (output, 1), (error, 2)])
    }

    /// The same with a pipe to read the process from.
    pub fn spawn_reading(&self, stdio: Stdio<'_>, spec: BorrowedFd<'_>) -> Result<i32, Failed> {
        let [input, output, error] = stdio;
        self.spawn_with(&[(input, 0), (output, 1), (error, 2), (spec, SPEC_FD)])
    }

    fn spawn_with(&self, fds: &[(BorrowedFd<'_>, RawFd)]) -> Result<i32, Failed> {
        let args: Vec<&OsStr> = self.args.iter().map(AsRef::as_ref).collect();
        let path = &self.tool.runtime.path;
        spawn::spawn(path, &args, fds)
            .map_err(|error| failed(self.step, format!("cannot run the runtime `{}`: {error}", path.display())))
    }

    /// Waits for the runtime within its deadline; what it started is killed with it when it takes longer. `leftover`
    /// reads what it wrote to its standard error.
    pub async fn wait(&self, pid: i32, reaper: &Reaper, leftover: impl FnOnce() -> String) -> Result<(), Failed> {
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
        let message = self.complaint().unwrap_or_else(|| match leftover().trim() {
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
    fn complaint(&self) -> Option<String> {
        let text = fs::read(&self.tool.log).ok()?;
        errors_in(&String::from_utf8_lossy(&text))
    }
}

/// Deletes whatever the runtime knows of the container, within the deadline. It is the last resort, so its own failure
/// is only written down.
pub(crate) async fn delete(shim: &Shim, reaper: &Reaper) {
    let (null, call) = (io::stdin(), Call::delete(shim));
    let null = null.as_fd();
    // Not its complaints about the failure that may have come before.
    let _ = shim.state.remove(isulad_shim::state_dir::RUNTIME_LOG);
    let done = match call.spawn([null, null, null]) {
        Ok(pid) => tokio::time::timeout(shim.process.runtime_deadline(), reaper.until(pid)).await,
        Err(error) => {
            eprintln!("isulad-shim: cannot delete the container: {}", error.message);
            return;
        }
    };
    match done {
        Ok(Ok(ExitStatus::Code(0))) => {}
        Ok(Ok(_)) => {
            let text = call.complaint().unwrap_or_else(|| "nothing said".into());
            eprintln!("isulad-shim: the runtime did not delete the container: {text}");
        }
        Ok(Err(error)) => eprintln!("isulad-shim: cannot wait for the runtime's delete: {error}"),
        Err(_) => {
            eprintln!("isulad-shim: the runtime did not finish `delete` in time and was killed");
            Reaper::kill_descendants(KILL_LIMIT);
        }
    }
}

pub(crate) fn failed(step: Step, message: String) -> Failed {
    Failed { step, message, runtime_status: None }
}

fn errors_in(log: &str) -> Option<String> {
    let mut messages: Vec<String> = Vec::new();
    for line in log.lines() {
        match serde_json::from_str::<LogLine>(line) {
            Ok(entry) if matches!(entry.level.as_str(), "error" | "fatal" | "panic") => {
                if messages.last() != Some(&entry.msg) {
                    messages.push(entry.msg);
                }
            }
            Ok(_) => {}
            // A runtime that ignores `--log-format` still has its say.
            Err(_) if !line.trim().is_empty() => messages.push(line.into()),
            Err(_) => {}
        }
    }
    if messages.is_empty() { None } else { Some(messages.join("\n")) }
}

#[derive(serde::Deserialize)]
struct LogLine {
    #[serde(default)]
    level: String,
    msg: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_taken_whole_and_once() {
        let log = "{\"level\":\"warning\",\"msg\":\"odd\",\"time\":\"t\"}\n\
                   {\"level\":\"error\",\"msg\":\"exec: \\\"nope\\\":\\nnot found\",\"time\":\"t\"}\n\
                   {\"level\":\"error\",\"msg\":\"exec: \\\"nope\\\":\\nnot found\",\"time\":\"t\"}\n";
        assert_eq!(errors_in(log).unwrap(), "exec: \"nope\":\nnot found");
        assert_eq!(errors_in("plain words\n").unwrap(), "plain words");
        assert_eq!(errors_in(""), None);
    }
}
