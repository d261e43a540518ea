//! Archives in both directions, interruptions, and the terminal meanwhile.

use std::fs::{self, File};
use std::process::Stdio;

use cri_api::isula::v1::*;
use rustix::process::{Pid, Signal, kill_process};

use super::daemon::{DIGEST, Daemon, Received, Script, Upload, layer, piece};
use super::images::pulled;
use super::terminal::Terminal;
use super::{Outcome, finish, isula, outcome, play};

const MIB: usize = 1 << 20;

fn loading(upload: Upload) -> Script {
    let images = vec![
        LoadedImage { id: DIGEST.into(), names: vec!["a:1".into(), "b:1".into()] },
        LoadedImage { id: DIGEST.into(), names: vec![] },
    ];
    let message = |progress| LoadProgress { progress: Some(progress) };
    let loaded = vec![
        message(load_progress::Progress::Received(Empty {})),
        message(load_progress::Progress::Layer(layer("sha256:11", layer_progress::State::Done, 1, 1))),
        message(load_progress::Progress::Done(LoadDone { images })),
    ];
    Script { loaded, upload, ..Script::default() }
}

fn archive(bytes: usize) -> (tempfile::NamedTempFile, Received) {
    let content: Vec<u8> = (0..bytes).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &content).unwrap();
    let mut received = Received::default();
    content.chunks(MIB).for_each(|piece| received.add(piece));
    (file, received)
}

#[test]
fn an_archive_is_loaded() {
    let (file, wanted) = archive(3 * MIB + 5);
    let path = file.path().display().to_string();
    let names = format!("Loaded image: a:1\nLoaded image: b:1\nLoaded image ID: {DIGEST}\n");
    let (ended, asked) = play(loading(Upload::Take), &["load", "-i", &path, "--tag", "x"]);
    let stdout = format!("{names}Load image from \"{path}\" success\n");
    assert_eq!(ended, Outcome::of(0, &stdout, "11: Load complete\n"));
    let open = LoadOpen { tag: "x".into() };
    assert_eq!(asked, [format!("Load {open:?}"), format!("Loaded {wanted:?}")]);

    let daemon = Daemon::start(loading(Upload::Take));
    let ended = outcome(isula(&daemon).args(["load", "-q"]).stdin(File::open(file.path()).unwrap()));
    assert_eq!(ended, Outcome::of(0, &format!("{names}Load image from \"stdin\" success\n"), ""));
    assert_eq!(daemon.asked()[1], format!("Loaded {wanted:?}"));
}

#[test]
fn a_root_filesystem_is_imported() {
    let (file, wanted) = archive(MIB + 1);
    let path = file.path().display().to_string();
    let words =
        ["import", "-c", "CMD [\"sh\"]", "--change=ENV A=1", "-m", "why", "--platform=linux/arm64", &path, "n:1"];
    let (ended, asked) = play(Script::default(), &words);
    assert_eq!(ended, Outcome::of(0, &format!("{DIGEST}\n"), ""));
    let open = ImportOpen {
        name: "n:1".into(),
        changes: vec!["CMD [\"sh\"]".into(), "ENV A=1".into()],
        message: "why".into(),
        platform: "linux/arm64".into(),
    };
    assert_eq!(asked, [format!("Import {open:?}"), format!("Imported {wanted:?}")]);
}

#[test]
fn an_unreadable_source_is_reported_before_anything_is_sent() {
    let missing = "cannot open '/no/such': No such file or directory (os error 2)\n";
    for words in [&["load", "-i", "/no/such"][..], &["import", "/no/such"]] {
        assert_eq!(play(Script::default(), words), (Outcome::of(1, "", missing), vec![]), "{words:?}");
    }
}

#[test]
fn the_daemons_word_counts_in_the_middle_of_an_upload() {
    let (file, _) = archive(64 * MIB);
    let path = file.path().display().to_string();
    for words in [&["load", "-i", &path][..], &["import", &path]] {
        let (ended, _) = play(loading(Upload::RefuseAfter(MIB)), words);
        assert_eq!(ended, Outcome::of(1, "", "Error response from daemon: this is no archive\n"), "{words:?}");
    }
}

#[test]
fn a_large_archive_is_not_held_in_memory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Sparse: it costs nothing, and a client that reads it all ahead holds it all in memory.
    file.as_file().set_len(1 << 30).unwrap();
    let daemon = Daemon::start(loading(Upload::Wait));
    let mut command = isula(&daemon);
    command.args(["load", "-q", "-i"]).arg(file.path()).stdout(Stdio::null());
    let child = command.spawn().unwrap();
    daemon.wait_for("Load ");
    let status = format!("/proc/{}/status", child.id());
    let peak = || -> u64 {
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    // It sleeps when it has nothing more to do: all is read ahead that will be.
    let voluntary = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") S ");
    while !voluntary() {
        std::thread::yield_now();
    }
    assert!(peak() < 64 * 1024, "{} KiB", peak());
    daemon.go_ahead();
    let has_read = || -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
        text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    };
    while has_read() < 200 << 20 {
        std::thread::yield_now();
    }
    assert!(peak() < 64 * 1024, "{} KiB", peak());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(finish(child).status.code(), Some(143));
    daemon.wait_for("LoadBroken");
}

fn saving(stalled: bool) -> Script {
    Script { saved: vec![piece(b"one"), piece(b"two")], stalled, ..Script::default() }
}

#[test]
fn images_are_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    let target = path.display().to_string();
    let (ended, asked) = play(saving(false), &["save", "--format", "oci", "-o", &target, "a", "b"]);
    assert_eq!(ended, Outcome::of(0, "", ""));
    assert_eq!(fs::read(&path).unwrap(), b"onetwo");
    let wanted = SaveRequest { images: vec!["a".into(), "b".into()], format: save_request::Format::OciLayout.into() };
    assert_eq!(asked, [format!("Save {wanted:?}")]);
    assert_eq!(play(saving(false), &["save", "a"]).0, Outcome::of(0, "onetwo", ""));
    assert_eq!(play(saving(false), &["save", "-o", "/dev/null", "a"]).0, Outcome::of(0, "", ""));
    // The older file stays when it fails.
    let refused = Script { refused: [("a".into(), "no".into())].into(), ..Script::default() };
    assert_eq!(play(refused, &["save", "-o", &target, "a"]).0.code, Some(1));
    let full = play(saving(false), &["save", "-o", "/dev/full", "a"]).0;
    assert_eq!(full, Outcome::of(1, "", "cannot write '/dev/full': No space left on device (os error 28)\n"));
    assert_eq!(fs::read(&path).unwrap(), b"onetwo");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn an_ended_save_leaves_nothing() {
    for kill in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(saving(true));
        let child =
            isula(&daemon).args(["save", "a", "-o"]).arg(directory.path().join("x")).stderr(Stdio::null()).spawn();
        let child = child.unwrap();
        daemon.wait_for("Save");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        if kill {
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        } else {
            daemon.die();
        }
        assert_eq!(finish(child).status.code(), Some(if kill { 130 } else { 1 }));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}

#[test]
fn a_terminal_is_no_place_for_archives() {
    let terminal = Terminal::open();
    let daemon = Daemon::start(Script::default());
    for words in [&["load"][..], &["import", "-"], &["save", "a"]] {
        let child = terminal.spawn(isula(&daemon).args(words));
        assert!(terminal.read_until("\n").contains("Refusing to "), "{words:?}");
        assert_eq!(finish(child).status.code(), Some(125), "{words:?}");
    }
    assert_eq!(daemon.asked(), [""; 0]);
}

#[test]
fn bars_on_a_terminal() {
    let terminal = Terminal::open();
    let daemon = Daemon::start(Script { pulled: pulled(), ..Script::default() });
    let child = terminal.spawn(isula(&daemon).args(["pull", "a"]));
    let shown = terminal.read_until("pulled");
    assert_eq!(finish(child).status.code(), Some(0));
    for text in ["111111111111: Pull complete", "222222222222: Already exists"] {
        assert!(shown.contains(text), "{shown:?}");
    }
}

#[test]
fn an_interrupted_pull_takes_its_bars_away() {
    let terminal = Terminal::open();
    let mut messages = pulled();
    messages.truncate(60);
    let daemon = Daemon::start(Script { pulled: messages, stalled: true, ..Script::default() });
    let child = terminal.spawn(isula(&daemon).args(["pull", "a"]));
    terminal.read_until("111111111111");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(finish(child).status.code(), Some(130));
    // The last output erases lines, and draws none after that.
    rustix::io::write(terminal.theirs_for_marks(), b"MARK").unwrap();
    let rest = terminal.read_until("MARK");
    let after = rest.rsplit("\u{1b}[2K").next().unwrap();
    assert!(rest.contains("\u{1b}[2K") && !after.contains("1111"), "{rest:?}");
    assert!(terminal.echoes());
}

#[test]
fn a_password_is_asked_for_without_echo() {
    let terminal = Terminal::open();
    let daemon = Daemon::start(Script::default());
    let child = terminal.spawn(isula(&daemon).args(["login", "h"]));
    terminal.read_until("Username: ");
    rustix::io::write(&terminal.ours, b"me\n").unwrap();
    terminal.read_until("Password: ");
    assert!(!terminal.echoes());
    rustix::io::write(&terminal.ours, b"hush\n").unwrap();
    let rest = terminal.read_until("Login Succeeded");
    assert!(!rest.contains("hush"), "{rest:?}");
    assert_eq!(finish(child).status.code(), Some(0));
    let wanted = LoginRequest { server: "h".into(), username: "me".into(), password: "hush".into() };
    assert_eq!(daemon.asked(), [format!("Login {wanted:?}")]);
    assert!(terminal.echoes());

    let child = terminal.spawn(isula(&daemon).args(["login", "-u", "me"]));
    terminal.read_until("Password: ");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(finish(child).status.code(), Some(130));
    assert!(terminal.echoes());
}
