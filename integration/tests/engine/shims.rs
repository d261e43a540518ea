//! Shims killed: their containers live on and lose nothing.

use std::time::Duration;

use integration::process::{Process, Signal};
use integration::{Node, Runtime, deadline};

on_each_runtime!(
    killed_under_a_writer,
    killed_in_the_daemons_absence,
    killed_with_the_daemon,
    killed_with_the_container,
    killed_again_and_again,
);

/// Counts, and exits with its own code if a write fails: EPIPE would be a signal or an error. As fast as it can at
/// first, so that pipes are full; then slowly, so that the size of its output does not depend on a test's time.
const WRITER: [&str; 3] = [
    "sh",
    "-c",
    "trap 'echo last; exit 7' TERM; trap '' PIPE; n=0; while :; do n=$((n+1)); if [ $n -gt 60000 ] && [ $((n % 10)) = 0 ]; then sleep 0.1; fi; echo line $n || exit 99; echo error $n >&2 || exit 98; done",
];

fn start(runtime: Runtime) -> (Node, String) {
    let node = Node::builder(runtime).config("container-log", serde_json::json!({"opts": {"max-size": "1g"}})).start();
    let id = node.run_detached(&["--name", "w"], &WRITER);
    node.written("w", "line 1000");
    (node, id)
}

/// At most this many shims are killed under one writer.
const KILLS: u64 = 5;

/// Ends the writer and checks that its output is there, every line of both streams, and its true end.
#[track_caller]
fn assert_nothing_lost(node: &Node, process: Process) {
    assert_eq!(node.process_of("w"), process, "it lives on");
    let text = node.ok(&["logs", "--tail", "2", "w"]);
    let newest = text.lines().filter_map(|line| line.strip_prefix("line ")?.parse::<u64>().ok()).next_back();
    let before = newest.unwrap_or(0);
    node.written("w", &format!("line {}", before + 200));
    process.signal(Signal::TERM);
    assert_eq!(node.wait("w"), Some(7), "its true end is known");
    let output = node.isula(&["logs", "w"]);
    let text = output.clone().ok();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("last"));
    let errors: Vec<&str> = output.stderr.lines().collect();
    let last = assert_complete(&lines, "line");
    assert!(last - assert_complete(&errors, "error") <= 1);
}

/// Every line is there. A shim that is killed may have logged bytes that its successor finds in the pipe: that much, a
/// pipe's content, may come twice.
#[track_caller]
fn assert_complete(lines: &[&str], word: &str) -> u64 {
    let number = |line: &&str| line.strip_prefix(word).and_then(|rest| rest.trim_start().parse::<u64>().ok());
    let numbers: Vec<u64> = lines.iter().map(|line| number(line).unwrap_or_else(|| panic!("`{line}`"))).collect();
    let mut repeated = 0;
    let mut last = 0;
    for number in numbers {
        assert!(number <= last + 1, "{word} {} is lost: after {last} comes {number}", last + 1);
        repeated += u64::from(number <= last);
        last = number;
    }
    assert!(repeated <= KILLS, "{repeated} steps back after at most {KILLS} lost shims");
    last
}

fn killed_under_a_writer(runtime: Runtime) {
    let (node, id) = start(runtime);
    let (process, shim) = (node.process_of("w"), node.shim_of("w"));
    let seq = node.seq();
    shim.kill();
    node.event_named(seq, &id, "ShimLost");
    node.event_named(seq, &id, "ShimAdopted");
    assert_ne!(node.shim_of("w"), shim);
    assert_nothing_lost(&node, process);
    node.assert_clean_end();
}

fn killed_in_the_daemons_absence(runtime: Runtime) {
    let (mut node, id) = start(runtime);
    let (process, shim) = (node.process_of("w"), node.shim_of("w"));
    let seq = node.seq();
    node.kill9();
    shim.kill();
    assert!(!process.wait_gone(Duration::from_millis(300)), "without a reader it waits");
    node.launch();
    node.event_named(seq, &id, "ShimAdopted");
    assert_nothing_lost(&node, process);
    node.assert_clean_end();
}

fn killed_with_the_daemon(runtime: Runtime) {
    let (mut node, id) = start(runtime);
    let (process, shim) = (node.process_of("w"), node.shim_of("w"));
    let seq = node.seq();
    shim.signal(Signal::KILL);
    node.kill9();
    shim.kill();
    node.launch();
    node.event_named(seq, &id, "ShimAdopted");
    assert_nothing_lost(&node, process);
    node.assert_clean_end();
}

fn killed_with_the_container(runtime: Runtime) {
    let node = Node::start(runtime);
    for round in 0..3 {
        let name = format!("c{round}");
        let id = node.sleeper(&name);
        let (process, shim) = (node.process_of(&name), node.shim_of(&name));
        let order = if round % 2 == 0 { [shim, process] } else { [process, shim] };
        order.iter().for_each(|it| it.signal(Signal::KILL));
        node.event_named(0, &id, "Exited");
        let state = node.state_of(&name);
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()), "round {round}: {state}");
    }
    let mut node = node;
    let id = node.sleeper("absent");
    let (process, shim) = (node.process_of("absent"), node.shim_of("absent"));
    node.kill9();
    shim.kill();
    process.kill();
    node.launch();
    node.event_named(0, &id, "Exited");
    let state = node.state_of("absent");
    assert!(
        state["ExitCode"].is_null()
            && state["ExitCause"] == "the shim and the process were lost while the daemon was away",
        "{state}"
    );
    node.assert_clean_end();
}

fn killed_again_and_again(runtime: Runtime) {
    let (node, id) = start(runtime);
    let process = node.process_of("w");
    let mut seq = node.seq();
    for _ in 0..KILLS {
        node.shim_of("w").kill();
        seq = node.event_named(seq, &id, "ShimAdopted").seq;
    }
    assert_nothing_lost(&node, process);
    deadline::until("the shims are gone", || node.shims().is_empty());
    node.assert_clean_end();
}
