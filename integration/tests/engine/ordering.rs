//! The order of operations: decision 0025. A slow operation keeps the commands that follow it on the same container, and
//! nothing else.

use integration::{Node, Runtime, command, deadline};

use crate::late_helpers::Hanging;

on_each_runtime!(an_exec_is_done_while_a_stop_is_pending, reads_and_other_containers_do_not_wait_for_a_hung_start);

fn an_exec_is_done_while_a_stop_is_pending(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let id = node.run_detached(&["--name", "x"], &["sh", "-c", script]);
    let stopping = node.spawn(&["stop", "-t", "100000", "x"]);
    deadline::until("the stop is recorded", || node.story(&id).iter().any(|name| name == "StopRequested"));
    node.ok(&["exec", "x", "true"]);
    assert_eq!(node.status_of("x"), "running");
    // Recorded when its shim has been reaped, after the client has its code.
    deadline::until("the exec's end is recorded", || node.story(&id).iter().any(|name| name == "ExecExited"));
    // A stop holds no place in the queue while its grace lasts.
    node.ok(&["kill", "x"]);
    let output = command::finish(stopping, deadline::PATIENCE).expect("the stop ends with the container");
    assert_eq!(output.code(), 0, "{output:?}");
    assert_eq!(node.wait("x"), Some(137));
    let story = node.story(&id);
    let at = |name: &str| story.iter().position(|other| other == name).unwrap_or_else(|| panic!("{name}: {story:?}"));
    assert!(at("StopRequested") < at("ExecStarted") && at("ExecExited") < at("Exited"), "{story:?}");
    node.assert_clean_end();
}

fn reads_and_other_containers_do_not_wait_for_a_hung_start(runtime: Runtime) {
    let hanging = Hanging::new(runtime, "run");
    let node = &hanging.node;
    node.sleeper("other");
    hanging.hang();
    let client = node.spawn(&node.words("run", &["-d", "--name", "y"], &["sleep", "100000"]));
    hanging.one_hangs();
    let names: Vec<String> = node.list().into_iter().map(|container| container.name).collect();
    assert!(["other", "y"].iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
    assert_eq!(node.inspect("y")["Name"].as_str().map(|name| name.trim_start_matches('/')), Some("y"));
    for words in
        [&["exec", "other", "true"][..], &["pause", "other"], &["unpause", "other"], &["stop", "-t", "0", "other"]]
    {
        node.ok(words);
    }
    assert_eq!(node.wait("other"), Some(137));
    hanging.go_on();
    let output = command::finish(client, deadline::PATIENCE).expect("the start ends");
    assert_eq!(output.code(), 0, "{output:?}");
    assert_eq!(node.status_of("y"), "running");
    node.assert_clean_end();
}
