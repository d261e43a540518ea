//! Plugins that fail, hang and talk nonsense, at ADD and at DEL: the start fails in words and is undone, a removal goes
//! on, and a failed release is retried.

use std::fs;

use integration::process::Signal;
use integration::{Node, Runtime, command, deadline, process};
use serde_json::json;

use super::{SERVE, all_given_back, builder, clean_end, world};

on_each_runtime!(
    a_start_fails_in_words_and_is_undone,
    a_removal_does_not_wait_for_a_plugin,
    the_recorded_attachment_is_given_back,
    a_repaired_configuration_releases_a_failed_start,
    other_networks_of_the_container_can_be_removed,
    a_plugin_outlives_the_daemon,
    a_plugin_that_outlives_the_daemon_and_hangs_is_ended,
);

/// Sets the behaviour of the plugin `odd` at ADD and at DEL; the rest of the chain are Debian's.
fn mode(node: &Node, add: &str, del: &str) {
    let log = node.dir().join("odd.log").display().to_string();
    let script = format!(
        "#!/bin/sh\ninput=$(cat)\necho $CNI_COMMAND begins >>{log}\ncase $CNI_COMMAND in\nADD) {add};;\nDEL) {del};;\nesac\necho $CNI_COMMAND ends >>{log}\n"
    );
    // Written by a process of its own: a child that another test starts at this moment would inherit our descriptor,
    // and a file that is open for writing cannot be run. Replaced, since it may be running.
    let write = r#"printf %s "$2" >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1""#;
    let place = node.dir().join("bin/odd");
    command::tool(&["sh", "-c", write, "sh", place.to_str().expect("UTF-8"), &script]);
}

/// Seconds that a plugin may take.
const TIMEOUT: u32 = 20;

/// Passes on the answer of the plugins before it.
const GOOD: &str = r#"echo "$input" | sed 's/.*"prevResult"://; s/}$//' | sed 's/,"type":"odd"//'"#;

/// Seconds by which a test finds its own sleeper.
fn number(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Runc => "1001",
        Runtime::Crun => "1002",
    }
}

/// With Debian's bridge and port mapping, and `odd` behind them.
fn odd_node(runtime: Runtime) -> Node {
    // Short enough to be waited for, and longer than Debian's plugins take on a busy machine.
    let mut node = builder(runtime).config("cni-timeout", json!(TIMEOUT)).build();
    let bin = node.dir().join("bin");
    fs::create_dir(&bin).expect("the node's directory is ours");
    node.set("cni-bin-dir", json!(format!("{}:/usr/lib/cni", bin.display())));
    node.launch();
    node.ok(&["network", "create", "net"]);
    let path = node.dir().join("cni/isulacni-net.conflist");
    let text = fs::read_to_string(&path).expect("it was made");
    let mut list: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    list["plugins"].as_array_mut().expect("a list").push(json!({"type":"odd"}));
    fs::write(&path, list.to_string()).expect("the node's directory is ours");
    node
}

fn run(node: &Node, name: &str) -> integration::command::Output {
    node.isula(&node.words("run", &["-d", "--name", name, "--net", "net", "-p", "8080:80"], &SERVE))
}

fn a_start_fails_in_words_and_is_undone(runtime: Runtime) {
    let node = odd_node(runtime);
    let error = r#"echo '{"cniVersion":"0.4.0","code":7,"msg":"out of luck"}'; exit 1"#;
    for (number, (add, words)) in [
        (error, "network net: plugin `odd`: ADD failed: out of luck (code 7)"),
        ("echo oops >&2; exit 3", "network net: plugin `odd`: ADD ended with exit status: 3 and said `oops`"),
        ("echo nonsense", "network net: plugin `odd`: ADD answered what cannot be used"),
        ("true", "said nothing"),
        (
            &format!("sleep {}", number(runtime)),
            &format!("network net: plugin `odd`: ADD did not finish within {TIMEOUT} s and was killed"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        mode(&node, add, "true");
        let name = format!("x{number}");
        let refusal = run(&node, &name).refused(125);
        assert!(refusal.contains(words), "{add}: {refusal}");
        all_given_back(&node);
        assert!(node.state_of(&name)["Error"].as_str().is_some_and(|error| error.contains(words)), "{add}");
        node.ok(&["rm", &name]);
    }
    let lives = || !process::with_argument("sleep", |word| word == number(runtime)).is_empty();
    deadline::until("the plugin's child is gone", || !lives());
    // And when it is well again, so is the container.
    mode(&node, GOOD, "true");
    run(&node, "well").ok();
    super::serves(&node, "127.0.0.1:8080");
    clean_end(&node);
}

fn a_removal_does_not_wait_for_a_plugin(runtime: Runtime) {
    let mut node = odd_node(runtime);
    for (number, del) in ["exit 1", "sleep 1000"].into_iter().enumerate() {
        mode(&node, GOOD, "true");
        let name = format!("x{number}");
        let id = run(&node, &name).ok();
        mode(&node, GOOD, del);
        // Started anew although the attachment of the last run was not given back.
        node.ok(&["restart", "-t", "0", &name]);
        super::serves(&node, &super::address(&node, &name));
        node.ok(&["rm", "-f", &name]);
        assert!(node.list().is_empty());
        let warnings = node.info().warnings;
        let named = |warning: &String| warning.contains(&id[..12]) && warning.contains("plugin `odd`: DEL");
        assert!(warnings.iter().any(named), "{warnings:?}");
        assert!(!world(&node).files.is_empty(), "it is still to be given back");
        node.restart();
        node.verified();
        assert!(!world(&node).files.is_empty(), "another daemon knows it too");
        mode(&node, GOOD, "true");
        all_given_back(&node);
        deadline::until("the warning is gone", || node.info().warnings.iter().all(|it| !it.contains("DEL")));
    }
    // Nonsense is no failure: nothing is expected of DEL.
    mode(&node, GOOD, "echo nonsense");
    run(&node, "y").ok();
    node.ok(&["rm", "-f", "y"]);
    all_given_back(&node);
    clean_end(&node);
}

fn the_recorded_attachment_is_given_back(runtime: Runtime) {
    let node = odd_node(runtime);
    mode(&node, GOOD, "true");
    run(&node, "x").ok();
    // The operator removes the file, and puts another network of this name in its place.
    let path = node.dir().join("cni/isulacni-net.conflist");
    fs::remove_file(&path).expect("it is there");
    let other = json!({"cniVersion":"0.4.0","name":"net","type":"loopback"}).to_string();
    fs::write(node.dir().join("cni/10-net.conf"), other).expect("the node's directory is ours");
    node.ok(&["rm", "-f", "x"]);
    all_given_back(&node);
    let log = fs::read_to_string(node.dir().join("odd.log")).expect("it was run");
    assert!(log.contains("DEL ends"), "{log}");
    let _ = super::on_host(&node, &["ip", "link", "del", "isula-br0"]);
    fs::remove_file(node.dir().join("cni/10-net.conf")).expect("it is there");
    clean_end(&node);
}

fn a_repaired_configuration_releases_a_failed_start(runtime: Runtime) {
    let node = odd_node(runtime);
    mode(&node, GOOD, "true");
    let path = node.dir().join("cni/isulacni-net.conflist");
    let right = fs::read_to_string(&path).expect("it was made");
    // host-local has no directory there, at ADD nor at DEL.
    fs::write(node.dir().join("file"), "").expect("the node's directory is ours");
    let wrong = node.dir().join("file/addresses").display().to_string();
    let mut list: serde_json::Value = serde_json::from_str(&right).expect("it is JSON");
    list["plugins"][0]["ipam"]["dataDir"] = json!(wrong);
    fs::write(&path, list.to_string()).expect("the node's directory is ours");
    let refusal = run(&node, "x").refused(125);
    assert!(refusal.contains("network net: plugin `bridge`: ADD failed"), "{refusal}");
    let warned = || node.info().warnings.iter().any(|it| it.contains("its network is not given back"));
    assert!(warned() && !world(&node).files.is_empty());
    fs::write(&path, right).expect("the node's directory is ours");
    deadline::until("it is given back", || !warned());
    all_given_back(&node);
    node.ok(&["start", "x"]);
    super::serves(&node, "127.0.0.1:8080");
    clean_end(&node);
}

fn other_networks_of_the_container_can_be_removed(runtime: Runtime) {
    let node = odd_node(runtime);
    node.ok(&["network", "create", "other"]);
    mode(&node, GOOD, "exit 1");
    node.run_detached(&["--name", "x", "--net", "net,other"], &SERVE);
    node.ok(&["rm", "-f", "x"]);
    node.ok(&["network", "rm", "other"]);
    let output = node.isula(&["network", "rm", "net"]);
    assert_ne!(output.code(), 0);
    assert!(output.stderr.contains("which has not given it back yet"), "{}", output.stderr);
    mode(&node, GOOD, "true");
    all_given_back(&node);
    clean_end(&node);
}

fn a_plugin_that_outlives_the_daemon_and_hangs_is_ended(runtime: Runtime) {
    let mut node = odd_node(runtime);
    // Its child writes its own number, so by then it has its own input. If it outlived the plugin, DEL would overtake
    // it.
    let child = node.dir().join("odd.child");
    let hang = format!("sh -c 'echo $$ >{}; exec sleep 1000' </dev/null & wait", child.display());
    let look = format!("grep -qs sleep /proc/$(cat {})/cmdline && echo it overtakes", child.display());
    mode(&node, &hang, &format!("{look} >>{}", node.dir().join("odd.log").display()));
    let words = node.words("run", &["-d", "--name", "x", "--net", "net", "-p", "8080:80"], &SERVE);
    let mut caller = node.spawn(&words);
    let log = node.dir().join("odd.log");
    deadline::until("the plugin runs", || fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n')));
    node.kill9();
    let _ = caller.wait();
    node.launch();
    node.verified();
    all_given_back(&node);
    let log = fs::read_to_string(&log).expect("it was run");
    assert_eq!(log, "ADD begins\nDEL begins\nDEL ends\n");
    assert_eq!(node.status_of("x"), "exited");
    clean_end(&node);
}

fn a_plugin_outlives_the_daemon(runtime: Runtime) {
    let mut node = odd_node(runtime);
    mode(&node, &format!("sleep 1; {GOOD}"), "true");
    let words = node.words("run", &["-d", "--name", "x", "--net", "net", "-p", "8080:80"], &SERVE);
    let mut caller = node.spawn(&words);
    let log = node.dir().join("odd.log");
    let logged = |words: &str| fs::read_to_string(&log).unwrap_or_default().contains(words);
    deadline::until("the plugin runs", || logged("ADD begins"));
    node.kill9();
    let _ = caller.wait();
    assert!(!logged("ADD ends"));
    node.launch();
    node.verified();
    all_given_back(&node);
    let log = fs::read_to_string(&log).expect("it was run");
    assert_eq!(log, "ADD begins\nADD ends\nDEL begins\nDEL ends\n", "one after the other");
    assert_eq!(node.status_of("x"), "exited");
    mode(&node, GOOD, "true");
    node.ok(&["start", "x"]);
    node.process_of("x").signal(Signal::KILL);
    node.wait("x");
    clean_end(&node);
}
