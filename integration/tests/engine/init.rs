//! `--init`: our own first process, which passes signals on, reaps, and ends as the command does.

use integration::{Node, Runtime, deadline};

on_each_runtime!(
    it_ends_as_the_command_ends,
    a_program_that_cannot_be_executed_is_reported,
    signals_are_passed_on,
    zombies_are_reaped,
    it_works_with_other_options,
);

fn it_ends_as_the_command_ends(runtime: Runtime) {
    let node = Node::start(runtime);
    assert_eq!(node.run(&["--init"], &["sh", "-c", "exit 7"]).code(), 7);
    assert_eq!(node.run(&["--init"], &["sh", "-c", "kill -KILL $$"]).code(), 137);
    let output = node.run(&["--init"], &["sh", "-c", "echo out; echo err >&2; echo $PPID $0 $*", "a", "b c", ""]);
    assert_eq!((output.code(), output.text()), (0, "out\n1 a b c".to_owned()));
    assert_eq!(output.stderr, "err\n");
    // An input is the command's.
    let id = node.create(&["--name", "x", "--init"], &["true"]);
    assert_eq!(node.inspect(&id)["HostConfig"]["Init"], true);
    assert_eq!(node.inspect(&id)["Path"], "true");
    let id = node.create(&["--name", "y"], &["true"]);
    assert_eq!(node.inspect(&id)["HostConfig"]["Init"], false);
    node.assert_clean_end();
}

fn a_program_that_cannot_be_executed_is_reported(runtime: Runtime) {
    let node = Node::start(runtime);
    let output = node.run(&["--init"], &["no-such-command"]);
    assert_eq!((output.code(), output.stderr.trim_end()), (127, "isulad-init: exec `no-such-command`: not found"));
    let output = node.run(&["--init"], &["/etc"]);
    assert_eq!((output.code(), output.stderr.trim_end()), (126, "isulad-init: exec `/etc`: permission denied"));
    let output = node.run(&["--init", "-e", "PATH=/nowhere::/bin"], &["echo", "found"]);
    assert_eq!((output.code(), output.text()), (0, "found".to_owned()));
    node.assert_clean_end();
}

fn signals_are_passed_on(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    node.run_detached(&["--name", "x", "--init"], &["sh", "-c", script]);
    node.written("x", "ready");
    node.ok(&["kill", "-s", "USR1", "x"]);
    node.written("x", "usr1");
    node.ok(&["stop", "x"]);
    assert_eq!(node.state_of("x")["ExitCode"], 9);
    // A program without a handler ignores the signal as a first process; as the command below an init it gets it.
    node.run_detached(&["--name", "y", "--init"], &["sleep", "100000"]);
    node.ok(&["stop", "-t", "30", "y"]);
    assert_eq!(node.state_of("y")["ExitCode"], 143);
    node.assert_clean_end();
}

fn zombies_are_reaped(runtime: Runtime) {
    let node = Node::start(runtime);
    // Orphans, each ended at once.
    let script = "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; echo made; exec sleep 100000";
    node.run_detached(&["--name", "x", "--init"], &["sh", "-c", script]);
    node.written("x", "made");
    let children = || {
        let pid = node.process_of("x").pid;
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().count()
    };
    deadline::until("only the command is left", || children() == 1);
    node.assert_clean_end();
}

fn it_works_with_other_options(runtime: Runtime) {
    let mut node = Node::start(runtime);
    assert_eq!(node.run(&["--init", "-u", "1234:5678", "--read-only"], &["id", "-u"]).ok(), "1234");
    assert_eq!(node.run(&["--init", "--cap-drop=ALL", "--pid=host"], &["echo", "here"]).ok(), "here");
    // With a terminal the command is its foreground.
    let stat = node.run(&["--init", "-t"], &["cat", "/proc/self/stat"]).ok();
    let fields: Vec<&str> = stat.split_whitespace().collect();
    assert_eq!((fields[0], fields[4]), (fields[4], fields[7]), "{stat}");
    // The program cannot be changed.
    let output = node.run(&["--init"], &["sh", "-c", "echo x > /dev/isulad-init"]);
    assert_ne!(output.code(), 0);
    // The daemon finds it in its place, and puts it there again.
    std::fs::write(node.graph().join("isulad-init"), "torn").expect("the node's directory is ours");
    node.restart();
    assert_eq!(node.run(&["--init"], &["sh", "-c", "exit 3"]).code(), 3);
    node.assert_clean_end();
}
