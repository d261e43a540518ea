//! The real `isula` against a daemon that plays a part and remembers what it was asked.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used)]

mod daemon;
mod failures;
mod foreground;
mod listing;
mod requests;
mod streams;
mod terminal;

use std::process::{Command, Output, Stdio};

use daemon::{Daemon, Script};

/// The program, pointed at a daemon's socket.
fn isula(daemon: &Daemon) -> Command {
    let mut command = bare();
    command.env("ISULAD_HOST", daemon.host());
    command
}

/// The program with nothing told about a daemon.
fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isula"));
    command.env_remove("ISULAD_HOST").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn outcome(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().expect("isula can be run");
    Outcome {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(stderr).expect("UTF-8 on stderr"),
    }
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
