//! `logs`: what containers wrote, also across rotation, and while it grows.

use std::fs;

use integration::{Node, Runtime, command, deadline};

on_each_runtime!(followed_to_the_end);

#[test]
fn tail_and_times_and_streams() {
    let node = Node::start(Runtime::Runc);
    node.run(
        &["--name", "l"],
        &["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; echo bad >&2; printf unfinished"],
    );
    let output = node.isula(&["logs", "l"]);
    assert_eq!(output.stdout, b"line 1\nline 2\nline 3\nline 4\nline 5\nunfinished");
    assert_eq!(output.stderr, "bad\n");
    let tail = |count: &str| {
        let output = node.isula(&["logs", "--tail", count, "l"]);
        (output.text(), output.stderr)
    };
    assert_eq!(tail("0"), (String::new(), String::new()));
    assert_eq!(tail("all").0, output.text());
    assert_eq!(tail("-1").0, output.text());
    let (out, errors) = tail("3");
    // The order between the two streams is theirs; the count is of both.
    assert_eq!(out.lines().count() + errors.lines().count(), 3);
    let timed = node.ok(&["logs", "-t", "l"]);
    let first = timed.lines().next().unwrap_or_default();
    let (time, text) = first.split_once(' ').expect("a time comes first");
    assert!(text == "line 1" && time.len() == 30 && time.ends_with('Z') && time.contains('T'), "{first}");
    assert_eq!(node.isula(&["logs", "nobody"]).refused(1), "Error response from daemon: No such container:nobody");
    assert_eq!(node.isula(&["logs", "--tail", "x", "l"]).code(), 125);
    node.assert_clean_end();
}

fn followed_to_the_end(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = "trap 'echo last; exit 0' TERM; seq 1 1000; echo ready; while :; do sleep 0.1; done";
    node.run_detached(&["--name", "f"], &["sh", "-c", script]);
    let following = node.spawn(&["logs", "-f", "f"]);
    node.written("f", "ready");
    node.ok(&["stop", "f"]);
    let output = command::finish(following, deadline::PATIENCE).expect("it ends with the container");
    let text = output.ok();
    assert_eq!(text.lines().count(), 1002);
    assert!(text.ends_with("1000\nready\nlast"), "{}", &text[text.len() - 40..]);
    node.assert_clean_end();
}

#[test]
fn rotated_by_size_and_count() {
    let node = Node::start(Runtime::Runc);
    let flags = ["--name", "r", "--log-opt", "max-size=8KB", "--log-opt", "max-file=3"];
    assert_eq!(node.run(&flags, &["seq", "1", "2000"]).code(), 0);
    let path = node.inspect("r")["LogPath"].as_str().expect("the path is text").to_owned();
    let size = |suffix: &str| fs::metadata(format!("{path}{suffix}")).map(|meta| meta.len()).ok();
    assert!(size("").is_some_and(|size| size <= 8192));
    assert!(size(".1").is_some_and(|size| size <= 8192) && size(".2").is_some());
    assert_eq!(size(".3"), None, "three files, not four");
    let logged = node.ok(&["logs", "r"]);
    let numbers: Vec<u32> = logged.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.len() > 100 && numbers.len() < 2000, "{}", numbers.len());
    assert_eq!(numbers.last(), Some(&2000));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "across the files no line is lost");
    assert_eq!(node.ok(&["logs", "--tail", "150", "r"]).lines().count(), 150);
    node.assert_clean_end();
}

#[test]
fn no_log() {
    let node = Node::start(Runtime::Runc);
    let output = node.run(&["--name", "q", "--log-driver", "none"], &["echo", "seen"]);
    assert_eq!((output.code(), output.text().as_str()), (0, "seen"));
    let id = node.inspect("q")["Id"].as_str().expect("an id is text").to_owned();
    assert!(!node.bundle(&id).join("console.log").exists());
    assert!(node.isula(&["logs", "q"]).refused(1).contains("log driver none"));
    node.assert_clean_end();
}
