//! Standing for a further process of a container.

use std::process::Stdio;

use cri_api::isula::v1::exec_output::Output;
use cri_api::isula::v1::{ExecOpen, ExecProcess, ExecStarted, ExitStatus, StartFailure};

use super::daemon::{Daemon, Executed, Script};
use super::terminal::Terminal;
use super::{Outcome, finish, isula, play};

fn playing(outputs: Vec<Output>) -> Script {
    Script { executed: Executed::Play(outputs), ..Script::default() }
}

fn started() -> Output {
    Output::Started(ExecStarted { exec_id: "0123456789abcdef".into(), pid: 7 })
}

#[test]
fn output_and_exit_code_are_passed_on() {
    let exited = Output::Exited(ExitStatus { code: Some(7), ..ExitStatus::default() });
    let outputs = vec![started(), Output::Stdout(b"one".to_vec()), Output::Stderr(b"two\n".to_vec()), exited];
    let (ended, asked) = play(playing(outputs), &["exec", "-e", "A=1", "-u", "9", "x", "ls", "-l"]);
    assert_eq!(ended, Outcome::of(7, "one", "two\n"));
    let process = ExecProcess {
        container: "x".into(),
        command: vec!["ls".into(), "-l".into()],
        env: vec!["A=1".into()],
        user: "9".into(),
        ..ExecProcess::default()
    };
    let open = ExecOpen { process: Some(process), stdout: true, stderr: true, ..ExecOpen::default() };
    assert_eq!(asked, [format!("Exec {open:?}")]);
}

#[test]
fn a_failed_start_has_the_exit_code_of_the_daemon() {
    let failed = StartFailure { message: "exec: \"nope\": executable file not found".into(), exit_code: 127 };
    for flag in ["-i", "-d"] {
        let (ended, _) = play(playing(vec![Output::Failed(failed.clone())]), &["exec", flag, "x", "nope"]);
        let stderr = "Error response from daemon: exec: \"nope\": executable file not found\n";
        assert_eq!(ended, Outcome::of(127, "", stderr));
    }
    let refused =
        Script { refused: [("x".to_owned(), "Container x is not running".to_owned())].into(), ..Script::default() };
    let (ended, _) = play(refused, &["exec", "x", "true"]);
    assert_eq!(ended, Outcome::of(125, "", "Error response from daemon: Container x is not running\n"));
}

#[test]
fn a_detached_one_prints_nothing() {
    let (ended, asked) = play(playing(vec![started()]), &["exec", "-d", "x", "true"]);
    assert_eq!(ended, Outcome::of(0, "", ""));
    assert!(asked[0].contains("detach: true"), "{asked:?}");
}

#[test]
fn without_a_terminal_none_is_asked_for() {
    let (ended, asked) = play(Script::default(), &["exec", "-it", "x", "sh"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(125), "The input device is not a TTY\n"));
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn a_daemon_that_dies_is_reported_and_the_terminal_restored() {
    let mut daemon = Daemon::start(Script { executed: Executed::Waits, ..Script::default() });
    let terminal = Terminal::open();
    let mut command = isula(&daemon);
    let child = terminal.spawn(command.args(["exec", "-it", "x", "sh"]));
    daemon.wait_for("Exec");
    daemon.die();
    let shown = terminal.read_until("ended with the connection");
    assert!(shown.contains("The connection to the daemon was lost"), "{shown}");
    assert_eq!(finish(child).status.code(), Some(122));
    assert!(terminal.echoes());
}

#[test]
fn the_detach_keys_leave_it_running() {
    let daemon = Daemon::start(Script { executed: Executed::Waits, ..Script::default() });
    let terminal = Terminal::open();
    let mut command = isula(&daemon);
    let child = terminal.spawn(command.args(["exec", "-it", "x", "sh"]));
    daemon.wait_for("Exec");
    rustix::io::write(&terminal.ours, b"a\x10\x11").unwrap();
    daemon.wait_for("Input Detach");
    assert_eq!(finish(child).status.code(), Some(0));
    assert!(terminal.echoes());
}

#[test]
fn a_detach_succeeds_only_when_the_daemon_confirms_it() {
    for (executed, expected) in [
        (Executed::CannotLetGo, "Error response from daemon: it may have ended"),
        (Executed::Silent, "The daemon did not say within 10 seconds that the process goes on; it may have ended"),
    ] {
        let daemon = Daemon::start(Script { executed, ..Script::default() });
        let terminal = Terminal::open();
        let mut command = isula(&daemon);
        let child = terminal.spawn(command.args(["exec", "-it", "x", "sh"]));
        daemon.wait_for("Exec");
        rustix::io::write(&terminal.ours, b"\x10\x11").unwrap();
        daemon.wait_for("Input Detach");
        let shown = terminal.read_until(expected);
        assert!(shown.contains(expected), "{shown}");
        assert_eq!(finish(child).status.code(), Some(125));
        assert!(terminal.echoes());
    }
}

#[test]
fn input_is_passed_on_with_its_end() {
    let daemon = Daemon::start(Script { executed: Executed::Waits, ..Script::default() });
    let mut command = isula(&daemon);
    let mut child = command.args(["exec", "-i", "x", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"abc").unwrap();
    assert!(daemon.wait_for("Input").starts_with("Input Stdin("));
    daemon.wait_for("Input StdinClosed");
    child.kill().unwrap();
    child.wait().unwrap();
}
