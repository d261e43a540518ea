//! Health checks: results of probes are shown, kept over the daemon's end, and acted upon; and nothing is left of them.

use std::fs;
use std::time::Duration;

use integration::{Node, Runtime, deadline};
use serde_json::Value;

on_each_runtime!(
    health_changes_are_reported_everywhere,
    failures_on_the_way_up_do_not_count,
    a_probe_that_takes_too_long_has_failed_and_is_gone,
    an_unhealthy_container_is_killed_and_its_policy_follows,
    probes_go_on_with_the_next_daemon,
    a_frozen_container_is_not_probed,
    invalid_checks_are_refused,
    probes_leave_nothing_behind,
);

const SLEEP: [&str; 2] = ["sleep", "100000"];

fn health(node: &Node, name: &str) -> Value {
    node.state_of(name)["Health"].take()
}

#[track_caller]
fn becomes(node: &Node, name: &str, status: &str) {
    deadline::until(status, || health(node, name)["Status"] == status);
}

/// Makes a file within the container, by which a test decides its health.
fn put(node: &Node, name: &str, file: &str) {
    fs::write(format!("/proc/{}/root/{file}", node.process_of(name).pid), "").expect("its root can be written to");
}

fn take(node: &Node, name: &str, file: &str) {
    fs::remove_file(format!("/proc/{}/root/{file}", node.process_of(name).pid)).expect("it was put there");
}

fn checked<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags = ["--name", name, "--health-cmd", "echo probing; test -e /well", "--health-interval", "200ms"];
    [&flags[..], more].concat()
}

fn health_changes_are_reported_everywhere(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.run_detached(&checked("x", &["--health-retries=2"]), &SLEEP);
    node.run_detached(&["--name", "plain"], &SLEEP);
    assert!(node.state_of("plain")["Health"].is_null());
    let seq = node.seq();
    becomes(&node, "x", "unhealthy");
    let changed = node.event_after(0, |event| event.id == id && event.name == "HealthChanged");
    assert_eq!((changed.verb.as_str(), changed.attributes["health"].as_str()), ("health_status", "unhealthy"));
    let known = health(&node, "x");
    assert!(known["FailingStreak"].as_i64() >= Some(2), "{known}");
    let last = &known["Log"][0];
    assert_eq!((last["ExitCode"].as_i64(), last["Output"].as_str()), (Some(1), Some("probing\n")), "{known}");
    assert!(node.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]).contains("(unhealthy)"));
    put(&node, "x", "well");
    becomes(&node, "x", "healthy");
    assert_eq!(health(&node, "x")["FailingStreak"], 0);
    let status = node.ok(&["ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.Status}}"]);
    assert!(status.starts_with("x Up ") && status.ends_with(" (healthy)"), "{status}");
    assert_eq!(node.ok(&["ps", "--filter", "health=none", "--format", "{{.Names}}"]), "plain");
    deadline::until("five are kept", || health(&node, "x")["Log"].as_array().map(Vec::len) == Some(5));
    // A change is an event, a probe is none.
    let events = node.events().into_iter().filter(|event| event.seq > seq && event.id == id).count();
    assert!(events <= 2, "{:?}", node.story(&id));
    // The last results are known after the container's end, and to another daemon; a new start begins anew.
    take(&node, "x", "well");
    becomes(&node, "x", "unhealthy");
    node.ok(&["stop", "-t", "0", "x"]);
    let last = health(&node, "x");
    assert_eq!(last["Status"], "unhealthy", "{last}");
    assert_eq!(last["Log"].as_array().map(Vec::len), Some(5), "{last}");
    node.restart();
    assert_eq!(health(&node, "x"), last);
    node.ok(&["start", "x"]);
    assert!(health(&node, "x")["Log"].as_array().map(Vec::len) < Some(5));
    becomes(&node, "x", "unhealthy");
    node.assert_clean_end();
}

fn failures_on_the_way_up_do_not_count(runtime: Runtime) {
    let node = Node::start(runtime);
    node.run_detached(&checked("x", &["--health-retries=1", "--health-start-period=1h"]), &SLEEP);
    deadline::until("it was probed three times", || health(&node, "x")["Log"].as_array().map(Vec::len) >= Some(3));
    let known = health(&node, "x");
    assert_eq!((known["Status"].as_str(), known["FailingStreak"].as_i64()), (Some("starting"), Some(0)), "{known}");
    assert!(node.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(health: starting)"));
    put(&node, "x", "well");
    becomes(&node, "x", "healthy");
    take(&node, "x", "well");
    becomes(&node, "x", "unhealthy");
    node.assert_clean_end();
}

fn a_probe_that_takes_too_long_has_failed_and_is_gone(runtime: Runtime) {
    let node = Node::start(runtime);
    let flags =
        ["--health-cmd", "sleep 4321", "--health-interval=100ms", "--health-timeout=300ms", "--health-retries=1"];
    node.run_detached(&[&["--name", "x"], &flags[..]].concat(), &SLEEP);
    becomes(&node, "x", "unhealthy");
    let known = health(&node, "x");
    assert_eq!(known["Log"][0]["ExitCode"], -1, "{known}");
    assert!(known["Log"][0]["Output"].as_str().unwrap_or_default().contains("exceeded timeout"), "{known}");
    node.ok(&["update", "--restart=no", "x"]);
    let probes = || {
        let listed = node.ok(&["top", "x", "-eo", "pid,args"]);
        listed.lines().filter(|line| line.contains("sleep 4321")).count()
    };
    // Never two at once, however long they take.
    for _ in 0..20 {
        assert!(probes() <= 2, "the shell and its child are one probe");
    }
    node.assert_clean_end();
}

fn an_unhealthy_container_is_killed_and_its_policy_follows(runtime: Runtime) {
    let node = Node::start(runtime);
    let flags = ["--health-retries=1", "--health-exit-on-unhealthy"];
    node.run_detached(&checked("x", &flags), &SLEEP);
    assert_eq!(node.wait("x"), Some(137));
    let id = node.run_detached(&checked("y", &[&flags[..], &["--restart=on-failure"]].concat()), &SLEEP);
    let seq = node.seq();
    node.event_named(seq, &id, "RestartScheduled");
    node.event_named(seq, &id, "Started");
    node.assert_clean_end();
}

fn probes_go_on_with_the_next_daemon(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.run_detached(&checked("x", &["--health-retries=2"]), &SLEEP);
    becomes(&node, "x", "unhealthy");
    node.kill9();
    node.launch();
    node.verified();
    let known = health(&node, "x");
    assert_eq!(known["Status"], "unhealthy", "{known}");
    deadline::until("what was known is known again", || health(&node, "x")["FailingStreak"].as_i64() >= Some(2));
    put(&node, "x", "well");
    becomes(&node, "x", "healthy");
    // The same run is probed under the next shim too.
    let seq = node.seq();
    node.shim_of("x").kill();
    node.event_named(seq, &id, "ShimAdopted");
    take(&node, "x", "well");
    becomes(&node, "x", "unhealthy");
    node.assert_clean_end();
}

fn a_frozen_container_is_not_probed(runtime: Runtime) {
    let node = Node::start(runtime);
    node.run_detached(&checked("x", &["--health-retries=1", "--health-timeout=10s"]), &SLEEP);
    put(&node, "x", "well");
    becomes(&node, "x", "healthy");
    let seq = node.seq();
    node.ok(&["pause", "x"]);
    assert!(node.event_within(Duration::from_secs(2), seq, |event| event.name == "HealthChanged").is_err());
    let known = health(&node, "x");
    assert_eq!(known["Status"], "healthy", "{known}");
    node.ok(&["unpause", "x"]);
    take(&node, "x", "well");
    becomes(&node, "x", "unhealthy");
    node.assert_clean_end();
}

fn invalid_checks_are_refused(runtime: Runtime) {
    let node = Node::start(runtime);
    for (flags, says) in [
        (&["--health-interval=1s"][..], "--health-cmd is required"),
        (&["--health-exit-on-unhealthy"], "--health-cmd is required"),
        (&["--no-healthcheck", "--health-cmd=true"], "--no-healthcheck conflicts"),
        (&["--health-cmd=true", "--health-timeout=11m"], "at most 10 minutes"),
        (&["--health-cmd=true", "--health-interval=1us"], "at least 1ms"),
        (&["--health-cmd=true", "--health-interval=soon"], "want a time"),
        (&["--health-cmd=true", "--health-retries=-1"], "health-retries"),
    ] {
        let complaint = node.isula(&node.words("create", flags, &["true"])).refused(125);
        assert!(complaint.contains(says), "{flags:?}: {complaint}");
    }
    node.assert_clean_end();
}

fn probes_leave_nothing_behind(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&checked("x", &["--health-interval=20ms"]), &SLEEP);
    let starts = || health(&node, "x")["Log"][4]["Start"].as_str().map(str::to_owned);
    deadline::until("it is probed", || starts().is_some());
    let (descriptors, threads) = (node.settled_descriptors(), node.daemon().threads());
    let first = starts();
    for _ in 0..10 {
        let last = starts();
        deadline::until("it goes on", || starts() != last);
    }
    assert_ne!(starts(), first);
    let settled = || node.daemon().descriptors() <= descriptors + 8 && node.daemon().threads() <= threads + 4;
    deadline::until("descriptors and threads stay as they were", settled);
    let execs = || fs::read_dir(node.state_dir(&id).join("exec")).map_or(0, Iterator::count);
    node.ok(&["pause", "x"]);
    deadline::until("no directory of a probe is left", || execs() == 0);
    node.ok(&["unpause", "x"]);
    assert!(!node.story(&id).iter().any(|name| name.starts_with("Exec")));
    node.assert_clean_end();
}
