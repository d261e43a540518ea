//! Input, signals and readers that leave, in the foreground without a terminal.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use super::daemon::{self, Attached, Daemon, Script};
use super::{finish, isula};

fn start(attached: Attached, words: &[&str]) -> (Daemon, Child) {
    let daemon = Daemon::start(Script { attached, ..Script::default() });
    let mut command = isula(&daemon);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    (daemon, child)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn the_end_of_the_input_is_passed_on() {
    let (_daemon, mut child) = start(Attached::Echo, &["run", "-i", "x", "cat"]);
    let sent: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let ended = finish(child);
    writer.join().unwrap();
    assert_eq!((ended.status.code(), ended.stdout == sent), (Some(0), true));
}

#[test]
fn signals_are_the_containers() {
    for (sent, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let (daemon, child) = start(Attached::UntilKilled, &["run", "x"]);
        daemon.wait_for("RunAttached");
        signal(&child, sent);
        assert!(daemon.wait_for("Kill").contains(&format!("signal: \"{number}\"")));
        assert_eq!(finish(child).status.code(), Some(128 + number));
    }
}

#[test]
fn a_signal_waits_for_the_container_to_start() {
    let (daemon, child) = start(Attached::StartsLate, &["run", "x"]);
    daemon.wait_for("RunAttached");
    signal(&child, Signal::TERM);
    daemon.go_ahead();
    daemon.wait_for("Kill");
    assert_eq!(finish(child).status.code(), Some(143));
}

#[test]
fn a_signal_that_we_were_made_to_ignore_is_not_passed_on() {
    let daemon = Daemon::start(Script { attached: Attached::UntilKilled, ..Script::default() });
    let program = env!("CARGO_BIN_EXE_isula");
    let mut shell = std::process::Command::new("sh");
    let child = shell.args(["-c", "trap '' HUP; exec \"$0\" run x", program]).env("ISULAD_HOST", daemon.host()).spawn();
    let child = child.unwrap();
    daemon.wait_for("RunAttached");
    signal(&child, Signal::HUP);
    signal(&child, Signal::TERM);
    // The first to arrive is the second that was sent.
    assert!(daemon.wait_for("Kill").contains("signal: \"15\""));
    assert_eq!(finish(child).status.code(), Some(143));
}

#[test]
fn signals_again_and_again_before_the_start_mean_us() {
    let (daemon, mut child) = start(Attached::StartsLate, &["run", "x"]);
    daemon.wait_for("RunAttached");
    // Signals of one kind that come together are one: it takes as many as it takes.
    while child.try_wait().unwrap().is_none() {
        signal(&child, Signal::TERM);
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(daemon.asked().iter().all(|asked| !asked.starts_with("Kill")));
}

/// The container has exited, but its output cannot be written on, so that its exit is never reached.
#[test]
fn a_container_that_has_ended_gets_no_more_signals() {
    for code in [Code::NotFound, Code::FailedPrecondition] {
        let script = Script { attached: Attached::Flood, ended: Some(code), ..Script::default() };
        let daemon = Daemon::start(script);
        let mut command = isula(&daemon);
        command.args(["run", "x"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // From the first byte on, signals are passed on.
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
        signal(&child, Signal::TERM);
        daemon.wait_for("Kill");
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() && began.elapsed() < daemon::PATIENCE {
            // Time for the answer: one without it is another matter.
            std::thread::sleep(Duration::from_millis(300));
            signal(&child, Signal::TERM);
        }
        assert_eq!(child.try_wait().unwrap().and_then(|status| status.code()), Some(143), "{code}");
        let asked = daemon.asked();
        assert!(!asked.iter().any(|asked| asked.starts_with("Kill")), "{asked:?}");
    }
}

#[test]
fn a_reader_that_left_ends_the_session_quietly() {
    let (_daemon, mut child) = start(Attached::Flood, &["run", "x"]);
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let ended = finish(child);
    assert_eq!((ended.status.code(), ended.stderr.as_slice(), &first), (Some(141), &[][..], b"yyyy"));
}
