//! The shim dies at each of its failpoints. A start that was not answered is undone; a container that runs lives on; an
//! end with a surviving witness is known.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use integration::process::Signal;
use integration::{Node, Runtime, deadline};

use crate::exec;

on_each_runtime!(a_start_is_undone, a_container_lives_on, an_end_is_known, an_end_in_the_daemons_absence);

/// Before the answer: the start has failed, and nothing of it is left.
const BEFORE: [&str; 5] = ["before-shim-pid", "after-shim-pid", "before-runtime", "after-launch", "after-pid-file"];
/// While the container runs.
const DURING: [&str; 1] = ["after-ready"];
/// At the container's end; whether a daemon that was away meanwhile finds a record.
const AFTER: [(&str, bool); 5] = [
    ("before-exit-record", false),
    ("exit-record-written", false),
    ("after-exit-record", true),
    ("after-exit-fifo", true),
    ("after-delete", true),
];

#[test]
fn every_failpoint_has_a_case() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim/src/failpoint.rs");
    let source = fs::read_to_string(source).expect("the shim's failpoints are in the workspace");
    let constants = source.lines().filter(|line| line.starts_with("pub const") && !line.contains("VARIABLE"));
    let listed: BTreeSet<&str> = constants.filter_map(|line| line.split('"').nth(1)).collect();
    let of_containers = BEFORE.into_iter().chain(DURING).chain(AFTER.map(|(point, _)| point));
    let tried: BTreeSet<&str> = of_containers.chain(exec::shim_points()).collect();
    assert_eq!(tried, listed);
}

const SCRIPT: [&str; 3] = ["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"];

fn armed(runtime: Runtime, point: &str) -> Node {
    let mut node = Node::builder(runtime).build();
    node.launch_with(&[("ISULAD_SHIM_FAILPOINT", point)]);
    node
}

/// Starts a daemon without failpoints for its shims.
fn disarm(node: &mut Node) {
    node.restart();
    node.verified();
}

fn a_start_is_undone(runtime: Runtime) {
    for point in BEFORE {
        let mut node = armed(runtime, point);
        let id = node.create(&["--name", "x"], &SCRIPT);
        let refusal = node.isula(&["start", "x"]).refused(1);
        assert!(refusal.contains("shim"), "{point}: {refusal}");
        let state = node.state_of("x");
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &125.into()), "{point}");
        let left = node.leftovers();
        assert!(left.mounts.is_empty() && left.shims.is_empty() && left.cgroups.is_empty(), "{point}: {left:#?}");
        assert_eq!(left.directories, [node.bundle(&id)], "{point}");
        disarm(&mut node);
        node.ok(&["start", "x"]);
        assert!(node.process_of("x").alive(), "{point}");
        node.assert_clean_end();
    }
}

fn a_container_lives_on(runtime: Runtime) {
    for point in DURING {
        let mut node = armed(runtime, point);
        let id = node.run_detached(&["--name", "x"], &SCRIPT);
        let process = node.process_of("x");
        node.event_named(0, &id, "ShimLost");
        disarm(&mut node);
        assert_eq!(node.process_of("x"), process, "{point}");
        deadline::until("a new shim has adopted it", || node.state_of("x")["ShimPid"] != 0);
        assert!(node.shim_of("x").alive());
        node.written("x", "ready");
        process.signal(Signal::TERM);
        assert_eq!(node.wait("x"), Some(7), "{point}");
        node.assert_clean_end();
    }
}

fn an_end_is_known(runtime: Runtime) {
    for (point, _) in AFTER {
        let mut node = armed(runtime, point);
        node.run_detached(&["--name", "x"], &SCRIPT);
        node.written("x", "ready");
        node.process_of("x").signal(Signal::TERM);
        assert_eq!(node.wait("x"), Some(7), "{point}");
        disarm(&mut node);
        assert_eq!(node.state_of("x")["ExitCode"], 7, "{point}");
        node.ok(&["start", "x"]);
        node.ok(&["stop", "-t", "0", "x"]);
        assert_eq!(node.state_of("x")["ExitCode"], 137, "{point}: the next run has an end of its own");
        node.assert_clean_end();
    }
}

fn an_end_in_the_daemons_absence(runtime: Runtime) {
    for (point, recorded) in AFTER {
        let mut node = armed(runtime, point);
        node.run_detached(&["--name", "x"], &SCRIPT);
        node.written("x", "ready");
        let (process, shim) = (node.process_of("x"), node.shim_of("x"));
        node.kill9();
        process.signal(Signal::TERM);
        assert!(shim.wait_gone(deadline::PATIENCE), "{point}: the shim dies with its container");
        node.launch();
        node.verified();
        let state = node.state_of("x");
        assert_eq!(state["Status"], "exited", "{point}");
        if recorded {
            assert_eq!(state["ExitCode"], 7, "{point}");
        } else {
            // No witness of the exit is left: no number that looks real.
            assert!(state["ExitCode"].is_null(), "{point}: {state}");
            assert_eq!(state["ExitCause"], "the shim and the process were lost while the daemon was away", "{point}");
            assert_eq!(node.ok(&["wait", "x"]), "unknown");
        }
        node.assert_clean_end();
    }
}
