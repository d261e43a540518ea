//! A journal that is older than the containers' files: a copy of an earlier one, or a damaged one without its newest
//! events. Files of later starts show what is missing.

use std::fs;
use std::process::Command;

use integration::process::Process;
use integration::{Node, Runtime};

on_each_runtime!(later_starts_are_taken_over, a_later_start_without_its_description_is_taken_over);

const UNTIL_STOPPED: [&str; 3] = ["sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 100000 & wait"];

/// Copies the journal of a daemon that is not running.
fn copy_journal(node: &Node) {
    let copied = Command::new("cp").arg("-a").args([node.graph().join("journal"), node.dir().join("copy")]).status();
    assert!(copied.expect("cp runs").success());
}

/// Puts the copy in place of the journal.
fn restore_journal(node: &Node) {
    let journal = node.graph().join("journal");
    fs::remove_dir_all(&journal).expect("it is the node's");
    let restored = Command::new("cp").arg("-a").args([node.dir().join("copy"), journal]).status();
    assert!(restored.expect("cp runs").success());
}

fn processes(node: &Node, name: &str) -> [Process; 2] {
    [node.process_of(name), node.shim_of(name)]
}

fn lost_histories(node: &Node) -> usize {
    let warnings = node.info().warnings;
    warnings.iter().filter(|warning| warning.contains("its later history was lost in the store; start")).count()
}

fn later_starts_are_taken_over(runtime: Runtime) {
    let mut node = Node::start(runtime);
    for name in ["created", "ended", "started"] {
        let words = if name == "ended" { ["sh", "-c", "exit 7"] } else { UNTIL_STOPPED };
        node.create(&["--name", name], &words);
    }
    for name in ["again", "same"] {
        node.run_detached(&["--name", name], &UNTIL_STOPPED);
        node.written(name, "ready");
    }
    node.kill9();
    copy_journal(&node);
    node.launch();
    node.verified();
    node.ok(&["start", "ended"]);
    assert_eq!(node.wait("ended"), Some(7));
    node.ok(&["start", "started"]);
    node.ok(&["stop", "again"]);
    node.ok(&["start", "again"]);
    let living = ["started", "again", "same"];
    let before = living.map(|name| processes(&node, name));
    node.kill9();
    restore_journal(&node);
    node.launch();
    node.verified();
    assert!(before.iter().flatten().all(|process| process.alive()), "{:#?}", node.info().warnings);
    assert_eq!(living.map(|name| processes(&node, name)), before);
    assert_eq!(living.map(|name| node.status_of(name)), ["running"; 3]);
    assert_eq!(node.status_of("created"), "inited");
    let ended = node.state_of("ended");
    assert_eq!((&ended["Status"], &ended["ExitCode"]), (&"exited".into(), &7.into()));
    assert_eq!(lost_histories(&node), 3, "{:#?}", node.info().warnings);
    // The history goes on behind what was lost.
    node.ok(&["stop", "started"]);
    assert_eq!(node.state_of("started")["ExitCode"], 3);
    node.ok(&["start", "started"]);
    node.ok(&["start", "created"]);
    let before = living.map(|name| processes(&node, name));
    node.restart();
    node.verified();
    assert_eq!(living.map(|name| processes(&node, name)), before);
    assert_eq!(lost_histories(&node), 0, "{:#?}", node.info().warnings);
    node.assert_clean_end();
}

fn a_later_start_without_its_description_is_taken_over(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.create(&["--name", "x"], &UNTIL_STOPPED);
    node.kill9();
    copy_journal(&node);
    for content in ["", "{", "\0\0\0\0"] {
        node.launch();
        node.verified();
        node.ok(&["start", "x"]);
        let process = node.process_of("x");
        let description = node.state_dir(&id).join("process.json");
        let whole = fs::read(&description).expect("it is there while the container runs");
        node.kill9();
        fs::write(&description, content).expect("the node's directory is ours");
        restore_journal(&node);
        node.launch();
        node.verified();
        assert_eq!(node.process_of("x"), process, "{:#?}", node.info().warnings);
        assert!(process.alive());
        assert_eq!(lost_histories(&node), 1);
        fs::write(&description, whole).expect("the node's directory is ours");
        node.ok(&["stop", "-t", "0", "x"]);
        node.kill9();
    }
    node.launch();
    node.assert_clean_end();
}
