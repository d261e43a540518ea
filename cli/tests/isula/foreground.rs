//! Standing for a container's process: exit codes, failures, a daemon that dies.

use std::process::Stdio;

use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachOpen, AttachStarted, ExitStatus, StartFailure};

use super::daemon::{Attached, Daemon, ID, Script, exited};
use super::{Outcome, finish, isula, outcome, play};

fn playing(outputs: Vec<Output>) -> Script {
    Script { attached: Attached::Play(outputs), ..Script::default() }
}

#[test]
fn output_and_exit_code_are_passed_on() {
    let outputs = vec![
        Output::Started(AttachStarted { warnings: vec!["lowered".into()] }),
        Output::Stdout(b"one".to_vec()),
        Output::Stderr(b"two\n".to_vec()),
        Output::Stdout(b"three\r\n".to_vec()),
        exited(7),
    ];
    let (ended, asked) = play(playing(outputs), &["run", "x"]);
    assert_eq!(ended, Outcome::of(7, "onethree\r\n", "WARNING: lowered\ntwo\n"));
    let open = AttachOpen { container: String::new(), stdin: false, stdout: true, stderr: true, size: None };
    assert_eq!(asked[1], format!("RunAttached {open:?}"));
}

#[test]
fn much_output_arrives_whole() {
    let line = |number: i32| Output::Stdout(format!("{number}\n").into_bytes());
    let outputs = (1..=20_000).map(line).chain([exited(0)]).collect();
    let wanted: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    let ended = play(playing(outputs), &["run", "x"]).0;
    assert_eq!((ended.code, ended.stdout == wanted), (Some(0), true));
}

#[test]
fn an_unknown_status_is_not_a_number() {
    let lost = ExitStatus { unknown_cause: "host-reboot".into(), ..ExitStatus::default() };
    let (ended, _) = play(playing(vec![Output::Exited(lost)]), &["run", "x"]);
    assert_eq!(ended, Outcome::of(125, "", "The container's exit status is unknown: host-reboot\n"));
}

#[test]
fn a_failed_start() {
    let failed = StartFailure { message: "exec: \"nope\": executable file not found".into(), exit_code: 127 };
    let (ended, _) = play(playing(vec![Output::Failed(failed)]), &["run", "x", "nope"]);
    let stderr = "Error response from daemon: exec: \"nope\": executable file not found\n";
    assert_eq!(ended, Outcome::of(127, "", stderr));
}

#[test]
fn attach_and_start_inspect_the_container_first() {
    let details = [("c".to_owned(), format!(r#"{{"Id":"{ID}","Config":{{"Tty":false,"OpenStdin":false}}}}"#))];
    for (words, verb) in [(&["attach", "c"][..], "Attach"), (&["start", "-a", "c"], "StartAttached")] {
        let outputs = vec![Output::Stdout(b"hi".to_vec()), exited(3)];
        let script = Script { details: details.clone().into(), ..playing(outputs) };
        let (ended, asked) = play(script, words);
        assert_eq!(ended, Outcome::of(3, "hi", ""), "{words:?}");
        let open = AttachOpen { container: ID.into(), stdin: false, stdout: true, stderr: true, size: None };
        assert_eq!(asked, ["Inspect \"c\"".to_owned(), format!("{verb} {open:?}")]);
    }
}

#[test]
fn a_stream_that_ends_early_is_trouble() {
    let (ended, _) = play(playing(vec![Output::Stdout(b"part".to_vec())]), &["run", "x"]);
    let stderr = format!(
        "The connection to the daemon was lost (it ended before the exit was reported); \
         container {ID} may be running still\n"
    );
    assert_eq!(ended, Outcome::of(122, "part", &stderr));
}

#[test]
fn a_daemon_that_dies_is_reported() {
    let mut daemon = Daemon::start(Script { attached: Attached::UntilKilled, ..Script::default() });
    let child = isula(&daemon).args(["run", "x"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    daemon.wait_for("RunAttached");
    daemon.die();
    let ended = finish(child);
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(122));
    assert!(stderr.starts_with("The connection to the daemon was lost ("), "{stderr}");
    assert!(stderr.ends_with(&format!("); container {ID} may be running still\n")), "{stderr}");
}

#[test]
fn interactive_without_a_terminal_is_refused_before_anything_is_made() {
    let daemon = Daemon::start(Script::default());
    let ended = outcome(isula(&daemon).args(["run", "-it", "x"]));
    assert_eq!(ended, Outcome::of(125, "", "The input device is not a TTY\n"));
    assert!(daemon.asked().is_empty());
}
