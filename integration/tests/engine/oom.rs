//! Kills for want of memory are distinguished from all others, of the first process and of its children.

use std::fs;
use std::time::Duration;

use integration::process::Signal;
use integration::{Node, Runtime, deadline};

on_each_runtime!(
    a_child_is_killed_and_its_container_goes_on,
    the_first_process_is_killed,
    another_kill_is_no_want_of_memory,
    it_is_seen_without_a_daemon_and_by_the_next_one,
    watching_leaves_nothing_open,
);

const LIMIT: [&str; 4] = ["-m", "16m", "--memory-swap", "16m"];
/// Touches more than there is.
const GREED: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1";

fn flags<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--name", name], &LIMIT[..], more].concat()
}

fn a_child_is_killed_and_its_container_goes_on(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = format!("{GREED}; echo survived; sleep 100000");
    let seq = node.seq();
    let id = node.run_detached(&flags("x", &[]), &["sh", "-c", &script]);
    let event = node.event_named(seq, &id, "OomKilled");
    assert_eq!((event.verb.as_str(), event.kind.as_str()), ("oom", "container"));
    node.written("x", "survived");
    let state = node.state_of("x");
    assert_eq!((state["OOMKilled"].as_bool(), state["Status"].as_str()), (Some(true), Some("running")), "{state}");
    node.ok(&["restart", "-t", "0", "x"]);
    node.ok(&["update", "-m", "512m", "--memory-swap", "512m", "x"]);
    node.ok(&["restart", "-t", "0", "x"]);
    let again = node.seq();
    assert!(node.event_within(Duration::from_secs(2), again, |event| event.name == "OomKilled").is_err());
    assert_eq!(node.state_of("x")["OOMKilled"], false, "each run has its own");
    node.assert_clean_end();
}

fn the_first_process_is_killed(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&flags("x", &[]), &["sh", "-c", &format!("exec {GREED}")]);
    assert_eq!(node.wait("x"), Some(137));
    let state = node.state_of("x");
    assert_eq!((state["OOMKilled"].as_bool(), state["ExitCode"].as_i64()), (Some(true), Some(137)), "{state}");
    let story = node.story(&id);
    assert_eq!(story.iter().filter(|name| *name == "OomKilled").count(), 1, "{story:?}");
    node.assert_clean_end();
}

fn another_kill_is_no_want_of_memory(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&flags("x", &[]), &["sleep", "100000"]);
    node.process_of("x").signal(Signal::KILL);
    assert_eq!(node.wait("x"), Some(137));
    assert_eq!(node.state_of("x")["OOMKilled"], false);
    assert!(!node.story(&id).contains(&"OomKilled".to_owned()));
    node.assert_clean_end();
}

fn it_is_seen_without_a_daemon_and_by_the_next_one(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let script = format!("while ! test -e /go; do sleep 0.05; done; {GREED}; echo survived; sleep 100000");
    let run = |name: &str| node.run_detached(&flags(name, &[]), &["sh", "-c", &script]);
    let (meanwhile, later) = (run("meanwhile"), run("later"));
    let go = |node: &Node, name: &str| {
        let root = format!("/proc/{}/root/go", node.process_of(name).pid);
        fs::write(&root, "").expect("the container's root can be written to");
    };
    let killed = |node: &Node, name: &str| node.state_of(name)["OOMKilled"] == true;
    let root = format!("/proc/{}/root/go", node.process_of("meanwhile").pid);
    node.kill9();
    fs::write(&root, "").expect("the container's root can be written to");
    node.launch();
    deadline::until("the kill of meanwhile is recorded", || killed(&node, "meanwhile"));
    let seq = node.seq();
    go(&node, "later");
    node.event_named(seq, &later, "OomKilled");
    assert!(killed(&node, "later") && meanwhile != later);
    node.assert_clean_end();
}

fn watching_leaves_nothing_open(runtime: Runtime) {
    let node = Node::start(runtime);
    let round = |count: usize| {
        for number in 0..count {
            node.run_detached(&flags(&format!("x{number}"), &[]), &["sleep", "100000"]);
        }
        node.remove_all();
    };
    round(2);
    let before = node.daemon().descriptors();
    round(6);
    deadline::until("descriptors are given back", || node.daemon().descriptors() <= before);
    node.assert_clean_end();
}
