//! Trouble with the store: damaged, of a newer format, on a full disk. Containers run on, nothing is deleted.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use integration::{Node, Runtime, deadline};

fn database(node: &Node) -> PathBuf {
    node.graph().join("journal/db")
}

fn overwrite(path: &Path, from: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("the database is a file");
    file.seek(SeekFrom::Start(from)).and_then(|_| file.write_all(bytes)).expect("it can be written");
}

/// Damages the store of an engine with containers in every state, and checks the next daemon's behaviour.
fn survives(damage: impl Fn(&Node)) {
    let mut node = Node::start(Runtime::Runc);
    node.create(&["--name", "created"], &["true"]);
    node.run_detached(&["--name", "ended"], &["sh", "-c", "exit 7"]);
    assert_eq!(node.wait("ended"), Some(7));
    let running =
        node.run_detached(&["--name", "running"], &["sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 100000 & wait"]);
    node.written("running", "ready");
    let process = node.process_of("running");
    node.kill9();
    damage(&node);
    node.launch();
    deadline::until("the containers are put together again", || node.list().len() == 3);
    node.verified();
    assert!(process.alive(), "the container lives");
    let bundles = fs::read_dir(node.graph().join("engines/runc")).expect("it is there").count();
    assert_eq!(bundles, 3, "nothing was deleted");
    let warnings = node.info().warnings;
    assert!(!warnings.is_empty(), "the operator is warned");
    assert_eq!((node.process_of(&running), node.status_of(&running)), (process, "running".to_owned()));
    assert_eq!(node.status_of("created"), "inited");
    // Also where the store still knows its creation.
    assert_eq!(
        (&node.state_of("ended")["Status"], &node.state_of("ended")["ExitCode"]),
        (&"exited".into(), &7.into()),
        "its exit record is there"
    );
    // The stream of events ends, also if a repair has skipped the last numbers; and it reports the missing numbers.
    let events = node.isula(&["events", "--since", "seq:1"]);
    let lost = events.text().lines().any(|line| line.contains(" journal gap "));
    assert_eq!((events.code(), events.stderr.contains("are lost")), if lost { (1, true) } else { (0, false) });
    node.ok(&["stop", &running]);
    assert_eq!(node.state_of(&running)["ExitCode"], 3);
    node.ok(&["start", "created"]);
    node.remove_all();
    assert!(node.leftovers().none(), "{:#?}", node.leftovers());
    node.create(&["--name", "later"], &["true"]);
    node.restart();
    assert_eq!(node.ok(&["ps", "-a", "--format", "{{.Names}}"]), "later", "the store works again");
    // The journal may have gaps, which it names.
    node.remove_all();
    node.assert_nothing_left();
}

#[test]
fn bytes_flipped_in_the_middle() {
    survives(|node| {
        let length = fs::metadata(database(node)).expect("there is a database").len();
        for part in 1..8 {
            overwrite(&database(node), length * part / 8, &[0xa5; 700]);
        }
    });
}

#[test]
fn a_database_cut_short() {
    survives(|node| {
        let file = OpenOptions::new().write(true).open(database(node)).expect("there is a database");
        let length = file.metadata().expect("it has a length").len();
        file.set_len(length / 3).expect("it can be cut");
    });
}

#[test]
fn a_database_that_is_gone() {
    survives(|node| fs::remove_dir_all(node.graph().join("journal")).expect("it is there"));
}

#[test]
fn a_format_file_that_is_damaged() {
    let mut node = Node::start(Runtime::Runc);
    let id = node.sleeper("x");
    let format = node.graph().join("journal/format");
    let before = fs::read(&format).expect("a journal says its format");
    for damage in [b"".as_slice(), b"journal 1\nrecords 999\ncrc32c 00000000\n", &[0; 40]] {
        node.kill9();
        fs::write(&format, damage).expect("it can be written");
        node.launch();
        node.verified();
        assert_eq!(node.ok(&["ps", "-q", "--no-trunc"]), id);
        let warnings = node.info().warnings.join("\n");
        assert!(warnings.contains("`format` was damaged and was written anew"), "{warnings}");
        assert_eq!(fs::read(&format).expect("it is there"), before);
    }
    node.assert_clean_end();
}

const NEWER: &str = "journal 1\nrecords 999\ncrc32c 05809354\n";

#[test]
fn of_a_newer_format() {
    let mut node = Node::start(Runtime::Runc);
    let id = node.sleeper("x");
    let process = node.process_of("x");
    node.kill9();
    let format = node.graph().join("journal/format");
    let before = fs::read_to_string(&format).expect("a journal says its format");
    fs::write(&format, NEWER).expect("it can be written");
    node.launch();
    assert_eq!(node.ok(&["ps", "-q", "--no-trunc"]), id, "reads are served");
    let warnings = node.info().warnings.join("\n");
    assert!(
        warnings.contains("the store has format 999") && warnings.contains("install the newer isulad"),
        "{warnings}"
    );
    let refusal = node.run(&[], &["true"]).refused(125);
    assert!(refusal.contains("format") || refusal.contains("read-only"), "{refusal}");
    assert_ne!(node.isula(&["rm", "-f", "x"]).code(), 0);
    assert!(process.alive());
    assert_eq!(node.ok(&["events"]).lines().count(), 3);
    assert_eq!(fs::read_to_string(&format).expect("it is there"), NEWER, "nothing is changed");
    node.kill9();
    fs::write(&format, before).expect("it can be written");
    node.launch();
    node.verified();
    assert_eq!(node.process_of("x"), process);
    node.assert_clean_end();
}

/// Such a daemon wrote the same name with other shapes behind it.
#[test]
fn of_a_build_before_the_release() {
    let mut node = Node::start(Runtime::Runc);
    let process = {
        node.sleeper("x");
        node.process_of("x")
    };
    node.kill9();
    let (format, database) = (node.graph().join("journal/format"), database(&node));
    let (before, kept) = (fs::read(&format).expect("a journal says its format"), fs::read(&database).ok());
    fs::write(&format, "layout 1\nrecords 3\ncrc32c 00000000\n").expect("it can be written");
    let ended = node.try_launch(&[]).expect_err("the daemon does not serve it");
    assert!(ended.log.contains("before the first release: move it elsewhere to begin a new one"), "{}", ended.log);
    assert!(process.alive());
    assert_eq!(fs::read(&database).ok(), kept, "nothing is changed");
    fs::write(&format, before).expect("it can be written");
    node.launch();
    node.verified();
    assert_eq!(node.process_of("x"), process);
    node.assert_clean_end();
}

#[test]
fn a_full_disk() {
    let mut node = Node::builder(Runtime::Runc).graph_size(64 << 20).start();
    node.create(&["--name", "created"], &["true"]);
    node.sleeper("running");
    node.sleeper("second");
    let ballast = node.graph().join("ballast");
    let mut file = fs::File::create(&ballast).expect("the filesystem is ours");
    while file.write_all(&[0; 1 << 16]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    drop(file);
    let refusal = node.run(&["--name", "no-room"], &["true"]).refused(125);
    assert!(refusal.to_lowercase().contains("space"), "{refusal}");
    assert_eq!(node.ok(&["ps", "-aq"]).lines().count(), 3);
    // Commands that free space work, and so do those that look for files to remove.
    assert_eq!(node.ok(&["exec", "running", "echo", "looking"]), "looking");
    assert_ne!(node.isula(&["exec", "-d", "running", "true"]).code(), 0, "a detached exec is refused");
    assert_eq!(node.ok(&["pause", "second"]), "second");
    assert_eq!(node.ok(&["unpause", "second"]), "second");
    assert_eq!(node.ok(&["stop", "running"]), "running");
    assert_eq!(node.state_of("running")["ExitCode"], 0);
    assert_eq!(node.ok(&["rm", "running"]), "running");
    assert_eq!(node.ok(&["rm", "-f", "second"]), "second");
    node.restart();
    node.verified();
    assert_eq!(node.ok(&["ps", "-a", "--format", "{{.Names}}"]), "created");
    fs::remove_file(&ballast).expect("it is there");
    node.run_detached(&["--name", "room"], &["true"]);
    node.assert_clean_end();
}
