//! Refusals, bad words, and a daemon that is not there.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use cri_api::isula::v1::StartFailure;

use super::daemon::{Daemon, ID, Script};
use super::{Outcome, bare, isula, outcome, play};

fn refusing(container: &str, message: &str) -> Script {
    Script { refused: [(container.to_owned(), message.to_owned())].into(), ..Script::default() }
}

#[test]
fn a_refusal_does_not_keep_the_others_from_being_done() {
    for verb in ["stop", "kill", "restart", "pause", "unpause", "rm"] {
        let (ended, asked) = play(refusing("b", "No such container:b"), &[verb, "a", "b", "c"]);
        assert_eq!(ended, Outcome::of(1, "a\nc\n", "Error response from daemon: No such container:b\n"), "{verb}");
        assert_eq!(done(&asked), 3, "{verb}");
    }
    let (ended, asked) = play(refusing("b", "No such container:b"), &["start", "a", "b", "c"]);
    assert_eq!((ended, done(&asked)), (Outcome::of(1, "", "Error response from daemon: No such container:b\n"), 3));
}

/// Requests that change something: before several are started it is looked whether they depend on one another.
fn done(asked: &[String]) -> usize {
    asked.iter().filter(|request| !request.starts_with("Inspect")).count()
}

#[test]
fn refused_creations_exit_with_125() {
    for words in [&["run", "-d", "--name", "b", "x"][..], &["run", "--name", "b", "x"], &["create", "--name=b", "x"]] {
        let (ended, _) = play(refusing("b", "Conflict."), words);
        assert_eq!(ended, Outcome::of(125, "", "Error response from daemon: Conflict.\n"), "{words:?}");
    }
}

#[test]
fn the_id_comes_before_a_failed_start() {
    for code in [125, 126, 127] {
        let failure = Some(StartFailure { message: "executable file not found".into(), exit_code: code });
        let (ended, _) = play(Script { failure, ..Script::default() }, &["run", "-d", "x"]);
        let stderr = "Error response from daemon: executable file not found\n";
        assert_eq!(ended, Outcome::of(code, &format!("{ID}\n"), stderr));
    }
    let failure = Some(StartFailure { message: "no".into(), exit_code: 127 });
    let (ended, _) = play(Script { failure, ..Script::default() }, &["start", "x"]);
    assert_eq!(ended, Outcome::of(1, "", "Error response from daemon: no\n"));
}

#[test]
fn bad_words() {
    for (words, code, first_line) in [
        (&["bogus"][..], 1, "isula: 'bogus' is not an isula command."),
        (&["--bogus", "ps"], 125, "Unknown flag found:'--bogus'"),
        (&["ps", "--bogus"], 125, "Unknown flag found:'--bogus'"),
        (&["run", "--bogus=1", "x"], 125, "Unknown flag found:'--bogus'"),
        (&["run", "--name"], 125, "Flag needs an argument: --name"),
        (&["-H"], 125, "Flag needs an argument: -H"),
        (
            &["run", "-m", "lots", "x"],
            125,
            "Invalid value \"lots\" for flag --memory: want a number with an optional unit b, k, m, g, t or p",
        ),
        (&["ps", "-a=perhaps"], 125, "Invalid value \"perhaps\" for flag --all"),
        (
            &["ps", "-f", "bogus=1"],
            125,
            "Invalid value \"bogus=1\" for flag --filter: unknown key 'bogus'; known are id, name, label, status, health, ancestor, exited, before, since",
        ),
        (
            &["run", "-p", "80:0", "x"],
            125,
            "Invalid value \"80:0\" for flag --publish: want [[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL], with ports or ranges of them from 1 to 65535",
        ),
        (&["run"], 125, "\"run\" requires a minimum of 1 argument."),
        (&["stop"], 125, "\"stop\" requires a minimum of 1 argument."),
        (&["rename", "a"], 125, "\"rename\" requires exactly 2 arguments."),
        (&["start", "-a", "a", "b"], 125, "You cannot start and attach multiple containers at once."),
        (&["ps", "-H", "tcp://1.2.3.4:5"], 125, "Host 'tcp://1.2.3.4:5': tcp is not supported yet, use unix://PATH"),
    ] {
        let ended = outcome(bare().args(words));
        assert_eq!((ended.code, ended.stderr.lines().next()), (Some(code), Some(first_line)), "{words:?}");
        assert_eq!(ended.stdout, "", "{words:?}");
    }
}

#[test]
fn no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let missing = format!("unix://{}/missing", directory.path().display());
    let ended = outcome(bare().args(["ps", "-H", &missing]));
    let first = "Can not connect with server.Is the iSulad daemon running on the host?";
    let path = missing.trim_start_matches("unix://");
    assert_eq!(ended, Outcome::of(1, "", &format!("{first}\n{path}: No such file or directory (os error 2)\n")));
    for words in [&["run", "-d", "x"][..], &["run", "x"], &["create", "x"]] {
        assert_eq!(outcome(bare().args(words).env("ISULAD_HOST", &missing)).code, Some(125), "{words:?}");
    }
    // A socket without a listener.
    let socket = directory.path().join("left");
    drop(UnixListener::bind(&socket).unwrap());
    let ended = outcome(bare().args(["ps", "-H"]).arg(&socket));
    assert_eq!((ended.code, ended.stderr.contains("Connection refused")), (Some(1), true), "{ended:?}");
}

#[test]
fn a_forbidden_socket_has_its_own_message() {
    let daemon = Daemon::start(Script::default());
    fs::set_permissions(daemon.socket().parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(daemon.socket(), Permissions::from_mode(0o600)).unwrap();
    // The program may be built where others cannot read.
    let copy = daemon.socket().with_file_name("isula");
    // By another process: a child that a test beside this one starts would hold our copy open for writing.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_isula")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let mut command = std::process::Command::new(&copy);
    let ended = outcome(command.args(["ps", "-H", &daemon.host()]).uid(65534).gid(65534));
    let path = daemon.socket().display().to_string();
    let wanted =
        format!("Permission denied to connect with server at {path}: are you root or in the socket's group?\n");
    assert_eq!(ended, Outcome::of(1, "", &wanted));
}

#[test]
fn a_reader_that_left_is_no_error() {
    let daemon = Daemon::start(Script::default());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = isula(&daemon).arg("ps").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(141), ""));
}

#[test]
fn pages_that_need_no_daemon() {
    let version = outcome(bare().arg("--version"));
    assert!(version.stdout.starts_with(&format!("Version {}, commit ", env!("CARGO_PKG_VERSION"))), "{version:?}");
    for words in [&["--help"][..], &[], &["help"]] {
        let help = outcome(bare().args(words));
        assert_eq!((help.code, help.stdout.contains("  inspect ")), (Some(0), true), "{help:?}");
    }
    for words in [["run", "--help"], ["help", "run"]] {
        let help = outcome(bare().args(words));
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Usage: isula run [OPTIONS] ROOTFS|IMAGE [COMMAND] [ARG...]"), "{help:?}");
        assert!(help.stdout.contains("--external-rootfs") && !help.stdout.contains("--hook-spec"), "{help:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = outcome(bare().args(["completion", shell]));
        assert!(script.code == Some(0) && script.stdout.contains("external-rootfs"), "{shell}");
    }
}
