//! Commands about several containers run in parallel and print in the order of the names.

use integration::{Node, Runtime};

on_each_runtime!(several_are_done_at_once_and_printed_in_order);

fn several_are_done_at_once_and_printed_in_order(runtime: Runtime) {
    let node = Node::start(runtime);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    for name in &names {
        node.create(&["--name", name], &["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]);
    }
    let all = |verb: &[&'static str]| {
        let words: Vec<&str> = verb.iter().copied().chain(names.iter().map(String::as_str)).collect();
        node.ok(&words)
    };
    let expected = names.join("\n");
    assert_eq!(all(&["start"]), "");
    assert_eq!(node.ok(&["ps", "-q"]).lines().count(), 20);
    for verb in [&["pause"][..], &["unpause"], &["restart", "-t", "0"], &["kill", "-s", "CONT"], &["stop", "-t", "0"]] {
        assert_eq!(all(verb), expected, "{verb:?}");
    }
    // Unknown names are reported one by one, and the others are done.
    let output = node.isula(&["rm", "c0", "nope", "c1", "neither"]);
    assert_eq!((output.code(), String::from_utf8_lossy(&output.stdout).trim()), (1, "c0\nc1"));
    let complaints: Vec<&str> = output.stderr.lines().collect();
    assert!(complaints.len() == 2 && complaints[0].contains("nope") && complaints[1].contains("neither"));
    let rest: Vec<&str> = ["rm", "-f"].into_iter().chain(names[2..].iter().map(String::as_str)).collect();
    assert_eq!(node.ok(&rest), names[2..].join("\n"));
    node.assert_clean_end();
}

/// `start` goes in turn: one that joins another's namespace is started after it.
#[test]
fn containers_that_join_another_are_started_in_turn() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "first"], &["sleep", "100000"]);
    for name in ["a", "b", "c"] {
        node.create(&["--name", name, "--net", "container:first"], &["sleep", "100000"]);
    }
    node.ok(&["start", "first", "a", "b", "c"]);
    assert_eq!(node.ok(&["ps", "-q"]).lines().count(), 4);
    node.assert_clean_end();
}
