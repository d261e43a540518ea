//! Running a program to its end, with a deadline, and collecting its output.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::deadline;
use crate::process::Process;

/// A program's output and exit status.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    /// The exit code; -1 after a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Standard output without the white space at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard output of a program that succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{} with\nstdout: {}\nstderr: {}", self.status, self.text(), self.stderr);
        self.text()
    }

    /// Standard error of a program that ended with this code.
    ///
    /// # Panics
    /// When it ended with another.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code(), code, "{}\nstdout: {}\nstderr: {}", self.status, self.text(), self.stderr);
        self.stderr.trim_end().to_owned()
    }
}

/// Runs it to its end without input.
///
/// # Panics
/// When it cannot be run or outlives `patience`; then it is killed.
#[track_caller]
pub fn run(command: &mut Command, patience: Duration) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    finish(child, patience).unwrap_or_else(|output| {
        let (stdout, stderr) = (output.text(), output.stderr);
        panic!("{command:?} did not end within {} s; its output was\n{stdout}\n{stderr}", patience.as_secs())
    })
}

/// Waits for the end of a child with piped output. `Err` is the output of a child that was killed for taking too long.
/// long.
pub fn finish(mut child: Child, patience: Duration) -> Result<Output, Output> {
    let stdout = child.stdout.take().map(|pipe| thread::spawn(move || drain(pipe)));
    let stderr = child.stderr.take().map(|pipe| thread::spawn(move || drain(pipe)));
    let process = Process::of(child.id().cast_signed());
    let ended = process.is_none_or(|process| process.wait_gone(patience));
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().expect("a child can be waited for");
    let collected =
        |reader: Option<thread::JoinHandle<Vec<u8>>>| reader.map_or(vec![], |it| it.join().unwrap_or_default());
    let stderr = String::from_utf8_lossy(&collected(stderr)).into_owned();
    let output = Output { status, stdout: collected(stdout), stderr };
    if ended { Ok(output) } else { Err(output) }
}

fn drain(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

/// Runs a program as a test's own means (not the thing under test) and gives its output.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn tool<S: AsRef<OsStr>>(words: &[S]) -> String {
    run(Command::new(&words[0]).args(&words[1..]), deadline::PATIENCE).ok()
}
