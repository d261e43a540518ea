//! Many execs: at once, and one after the other.

use integration::{Node, Runtime, command, deadline};

use super::assert_gone;

on_each_runtime!(a_hundred_at_once, a_thousand_one_after_the_other);

fn a_hundred_at_once(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let clients: Vec<_> =
        (0..100_i32).map(|n| (n, node.spawn(&["exec", "x", "sh", "-c", &format!("echo {n}; exit {n}")]))).collect();
    for (n, client) in clients {
        let output = command::finish(client, deadline::PATIENCE * 3).expect("it ends");
        assert_eq!((output.code(), output.text()), (n, n.to_string()), "{}", output.stderr);
    }
    let count = |name: &str| node.events().iter().filter(|event| event.name == name).count();
    deadline::until("every end is recorded", || count("ExecExited") == 100);
    assert_eq!(count("ExecStarted"), 100);
    assert_gone(&node, &id);
    node.assert_clean_end();
}

/// The daemon's use: descriptors, threads, bytes of memory.
fn holds(node: &Node) -> (usize, usize, u64) {
    let proc = format!("/proc/{}", node.daemon().pid);
    let count = |name: &str| std::fs::read_dir(format!("{proc}/{name}")).unwrap().count();
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (count("fd"), count("task"), line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

fn a_thousand_one_after_the_other(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let run = |count: usize| (0..count).for_each(|_| drop(node.ok(&["exec", "x", "true"])));
    run(100);
    assert_gone(&node, &id);
    let before = holds(&node);
    run(900);
    assert_gone(&node, &id);
    deadline::until("descriptors are as before", || holds(&node).0 <= before.0);
    let after = holds(&node);
    // Blocking work comes and goes with its threads.
    assert!(after.1 <= before.1 + 8, "threads: {before:?}, then {after:?}");
    assert!(after.2 <= before.2 + (8 << 20), "memory: {before:?}, then {after:?}");
    node.assert_clean_end();
}
