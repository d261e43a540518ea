//! A container's life, by hand: the effect, the output and the refusals of each command.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use integration::process::Signal;
use integration::{Node, Runtime, cgroup, command, deadline};

on_each_runtime!(
    created_started_stopped_removed,
    grace_then_sigkill,
    in_the_foreground,
    input_of_a_foreground_run,
    removed_when_it_ends,
    signals,
    restarted,
    paused_and_resumed,
    waited_for,
    every_line_arrives,
);

fn created_started_stopped_removed(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.create(&["--name", "c"], &["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 1; done"]);
    assert_eq!(id.len(), 64);
    assert_eq!(node.status_of("c"), "inited");
    assert_eq!(node.ok(&["ps", "-q"]), "");
    assert_eq!(node.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]), "c Created");
    assert!(node.shims().is_empty(), "nothing runs before the start");

    assert_eq!(node.ok(&["start", "c"]), "");
    let first = node.process_of("c");
    assert!(first.alive());
    assert_eq!(node.ok(&["start", "c"]), "", "a second start changes nothing");
    assert_eq!(node.process_of("c"), first);
    let refusal = node.isula(&["rm", "c"]).refused(1);
    assert_eq!(
        refusal,
        "Error response from daemon: You cannot remove a running container c. Stop the container before attempting \
         removal or use -f"
    );
    node.written("c", "ready");
    assert_eq!(node.ok(&["stop", "c"]), "c");
    let state = node.state_of("c");
    assert_eq!((&state["Status"], &state["ExitCode"], &state["Pid"]), (&"exited".into(), &3.into(), &0.into()));
    assert_eq!(node.ok(&["stop", "c"]), "c", "what is stopped is stopped");
    assert!(!first.alive());
    deadline::until("the shim leaves after its container", || node.shims().is_empty());

    assert_eq!(node.ok(&["start", "c"]), "");
    assert_ne!(node.process_of("c"), first);
    assert_eq!(node.ok(&["rm", "-f", "c"]), "c");
    assert_eq!(node.isula(&["rm", "c"]).refused(1), "Error response from daemon: No such container:c");
    node.assert_nothing_left();
    let expected = [
        "Created",
        "StartRequested",
        "Started",
        "StopRequested",
        "Exited",
        "StartRequested",
        "Started",
        "RemoveRequested",
        "Exited",
        "Removed",
    ];
    assert_eq!(node.story(&id), expected);
    node.assert_clean_end();
}

fn grace_then_sigkill(runtime: Runtime) {
    let node = Node::start(runtime);
    let id =
        node.run_detached(&["--name", "deaf"], &["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
    node.written("deaf", "ready");
    // The grace runs from the command: its record is durable a moment later.
    let asked = SystemTime::now();
    assert_eq!(node.ok(&["stop", "-t", "1", "deaf"]), "deaf");
    assert_eq!(node.state_of("deaf")["ExitCode"], 137);
    let events = node.events();
    let at = |name: &str| events.iter().find(|event| event.id == id && event.name == name).expect("it happened").time;
    let killed = UNIX_EPOCH + Duration::from_nanos(at("Killed").unsigned_abs());
    assert!(killed >= asked + Duration::from_secs(1), "killed before its grace was over");
    node.ok(&["start", "deaf"]);
    assert_eq!(node.ok(&["stop", "-t", "0", "deaf"]), "deaf");
    assert_eq!(node.state_of("deaf")["ExitCode"], 137);
    node.assert_clean_end();
}

fn in_the_foreground(runtime: Runtime) {
    let node = Node::start(runtime);
    let output = node.run(&[], &["sh", "-c", "echo to stdout; echo to stderr >&2; exit 42"]);
    assert_eq!((output.code(), output.text().as_str(), output.stderr.as_str()), (42, "to stdout", "to stderr\n"));
    assert_eq!(node.run(&[], &["true"]).code(), 0);
    node.create(&["--name", "a"], &["sh", "-c", "echo again; exit 5"]);
    for _ in 0..2 {
        let output = node.isula(&["start", "-a", "a"]);
        assert_eq!((output.code(), output.text().as_str()), (5, "again"));
    }
    node.assert_clean_end();
}

fn input_of_a_foreground_run(runtime: Runtime) {
    let node = Node::start(runtime);
    let mut command = node.command(&node.words("run", &["-i"], &["sh", "-c", "wc -c; exit 6"]));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("isula runs");
    let mut input = child.stdin.take().expect("its input is piped");
    // More than any pipe on the way holds.
    input.write_all(&vec![b'x'; 1_000_000]).expect("the input is taken");
    drop(input);
    let output = command::finish(child, deadline::PATIENCE).expect("the end of the input ends it");
    assert_eq!((output.code(), output.text().as_str()), (6, "1000000"), "{}", output.stderr);
    node.assert_clean_end();
}

fn removed_when_it_ends(runtime: Runtime) {
    let node = Node::start(runtime);
    assert_eq!(node.run(&["--rm", "--name", "brief"], &["sh", "-c", "exit 9"]).code(), 9);
    node.event_after(0, |event| event.name == "Removed");
    assert_eq!(node.ok(&["ps", "-aq"]), "");
    let id = node.run_detached(&["--rm"], &["true"]);
    node.event_named(0, &id, "Removed");
    let failed = node.run(&["--rm"], &["no-such-command"]);
    assert_eq!(failed.code(), 127, "{}", failed.stderr);
    deadline::until("the failed one is removed", || node.list().is_empty());
    node.assert_clean_end();
}

fn signals(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = "trap 'echo got USR1' USR1; trap 'exit 11' INT; echo ready; while :; do sleep 0.1; done";
    node.run_detached(&["--name", "s"], &["sh", "-c", script]);
    node.written("s", "ready");
    assert_eq!(node.ok(&["kill", "-s", "USR1", "s"]), "s");
    node.written("s", "got USR1");
    node.ok(&["kill", "-s", "2", "s"]);
    assert_eq!(node.wait("s"), Some(11));
    let refusal = node.isula(&["kill", "s"]).refused(1);
    assert!(refusal.contains("Cannot kill container: Container s is not running"), "{refusal}");
    node.ok(&["start", "s"]);
    assert_eq!(node.ok(&["kill", "s"]), "s");
    assert_eq!(node.state_of("s")["ExitCode"], 137);
    let refusal = node.isula(&["kill", "-s", "NOPE", "s"]).refused(1);
    assert!(refusal.contains("NOPE"), "{refusal}");
    node.assert_clean_end();
}

fn restarted(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("r");
    let before = node.process_of("r");
    assert_eq!(node.ok(&["restart", "-t", "5", "r"]), "r");
    let after = node.process_of("r");
    assert!(before != after && after.alive() && !before.alive());
    node.ok(&["stop", "r"]);
    assert_eq!(node.ok(&["restart", "r"]), "r", "what is stopped is started");
    assert_eq!(node.status_of(&id), "running");
    node.assert_clean_end();
}

fn paused_and_resumed(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("p");
    assert_eq!(node.ok(&["pause", "p"]), "p");
    assert_eq!(node.status_of("p"), "paused");
    assert!(node.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(Paused)"));
    let frozen = || {
        let group = format!("{}/{id}", node.cgroup_parent());
        fs::read_to_string(cgroup::file("freezer", &group, "freezer.state", "cgroup.freeze")).expect("it has a cgroup")
    };
    assert!(matches!(frozen().trim(), "FROZEN" | "1"));
    let refusal = node.isula(&["stop", "p"]).refused(1);
    assert!(refusal.contains("is paused. Unpause the container before stopping or killing"), "{refusal}");
    assert!(node.isula(&["start", "p"]).refused(1).contains("try unpause instead"));
    assert_eq!(node.ok(&["pause", "p"]), "p", "what is paused is paused");
    assert_eq!(node.ok(&["unpause", "p"]), "p");
    assert!(matches!(frozen().trim(), "THAWED" | "0"));
    assert_eq!(node.status_of("p"), "running");
    node.ok(&["pause", "p"]);
    assert_eq!(node.ok(&["rm", "-f", "p"]), "p", "also what is frozen can be removed by force");
    node.assert_clean_end();
}

fn waited_for(runtime: Runtime) {
    let node = Node::start(runtime);
    node.create(&["--name", "never"], &["true"]);
    node.run_detached(&["--name", "w"], &["sh", "-c", "trap 'exit 21' TERM; echo ready; while :; do sleep 0.1; done"]);
    node.written("w", "ready");
    let waiting = node.spawn(&["wait", "w"]);
    // The client may ask before or after the end: both are answered alike.
    node.process_of("w").signal(Signal::TERM);
    let output = command::finish(waiting, deadline::PATIENCE).expect("the wait ends with the container");
    assert_eq!(output.ok(), "21");
    assert_eq!(node.ok(&["wait", "w", "never"]), "21\n0");
    assert!(node.isula(&["wait", "nobody"]).refused(1).contains("No such container:nobody"));
    node.assert_clean_end();
}

/// The first process's output right before its exit is in the foreground and in the log, every time.
fn every_line_arrives(runtime: Runtime) {
    const LINES: usize = 20_000;
    let node = Node::builder(runtime).config("container-log", serde_json::json!({"opts": {"max-size": "64m"}})).start();
    let wanted: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
    for round in 0..20 {
        let name = format!("round-{round}");
        let output = node.run(&["--name", &name], &["seq", "1", &LINES.to_string()]);
        let count = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((output.code(), count(&output.stdout)), (0, LINES), "round {round}, foreground: {}", output.stderr);
        assert!(output.stdout == wanted.as_bytes(), "round {round}: the foreground differs");
        let logged = node.isula(&["logs", &name]);
        assert_eq!(count(&logged.stdout), LINES, "round {round}, log");
        assert!(logged.stdout == wanted.as_bytes(), "round {round}: the log differs");
        node.ok(&["rm", &name]);
    }
    node.assert_clean_end();
}
