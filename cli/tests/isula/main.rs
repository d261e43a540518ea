//! The real `isula` against a daemon that plays a part and records the requests.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used)]

mod daemon;
mod exec;
mod failures;
mod foreground;
mod images;
mod listing;
mod networks;
mod requests;
mod streams;
mod terminal;
mod transfers;
mod volumes;

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use daemon::{Daemon, Script};
use rustix::process::{Pid, Signal, kill_process};

/// The program, pointed at a daemon's socket.
fn isula(daemon: &Daemon) -> Command {
    let mut command = bare();
    command.env("ISULAD_HOST", daemon.host());
    command
}

/// The program without a daemon's address. The caller of these tests may ignore SIGINT, as a shell does for programs in
/// the background; the program would keep to that.
fn bare() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_isula")]);
    command.env_remove("ISULAD_HOST").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn outcome(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } =
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    Outcome {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(stderr).expect("UTF-8 on stderr"),
    }
}

/// Waits for its end, but not for ever: a program that hangs is killed, and so has no exit code.
fn finish(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (ended, waiting) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waiting.recv_timeout(daemon::PATIENCE) == Err(RecvTimeoutError::Timeout) {
            kill_process(pid, Signal::KILL).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    output
}

/// One run against a daemon with this script.
fn play(script: Script, words: &[&str]) -> (Outcome, Vec<String>) {
    let daemon = Daemon::start(script);
    let outcome = outcome(isula(&daemon).args(words));
    (outcome, daemon.asked())
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn of(code: i32, stdout: &str, stderr: &str) -> Self {
        Self { code: Some(code), stdout: stdout.into(), stderr: stderr.into() }
    }
}
