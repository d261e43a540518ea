//! `logs`: containers' output, also across rotation, and while it grows.

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

/// Lines, however many records they take, of those that the times let through; times only where a line begins.
#[test]
fn a_tail_is_of_whole_lines_within_the_times() {
    let node = Node::start(Runtime::Runc);
    let long = "x".repeat(40_000);
    let script = "for i in 1 2 3; do head -c 40000 /dev/zero | tr '\\0' x; echo $i; done; echo end";
    node.run(&["--name", "l", "--log-opt", "max-size=64MB"], &["sh", "-c", script]);
    let lines: Vec<String> = (1..=3).map(|number| format!("{long}{number}")).chain(["end".to_owned()]).collect();
    for count in 0..=4 {
        let text = node.ok(&["logs", "-n", &count.to_string(), "l"]);
        assert!(text == lines[4 - count..].join("\n"), "{count}: {} bytes", text.len());
    }
    let timed = node.ok(&["logs", "-t", "l"]);
    let times: Vec<&str> = timed.lines().filter_map(|line| line.split_once(' ')).map(|(time, _)| time).collect();
    assert_eq!(times.len(), 4);
    assert!(
        timed.lines().zip(&lines).all(|(timed, line)| timed.ends_with(&format!("Z {line}"))),
        "one time for each line"
    );
    assert_eq!(node.ok(&["logs", "-n", "1", "--until", times[3], "l"]), "end");
    assert_eq!(node.ok(&["logs", "-n", "1", "--since", times[3], "l"]), "end");
    assert_eq!(node.ok(&["logs", "-n", "5", "--until", "1000", "l"]), "");
    // Following, too, ends when its time is over, also while the container runs.
    node.run_detached(&["--name", "f"], &["sh", "-c", "seq 1 9; sleep 1000"]);
    node.written("f", "9");
    assert_eq!(node.ok(&["logs", "-f", "-n", "2", "--until", "0s", "f"]), "8\n9");
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
