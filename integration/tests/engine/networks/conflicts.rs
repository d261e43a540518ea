//! Impossible networks and ports: refused at once where that can be known, and in words.

use std::fs;

use integration::{Node, Runtime, command, deadline};
use serde_json::json;

use super::{SERVE, all_given_back, builder, clean_end, node, on_host, server};

on_each_runtime!(creations_that_are_refused, ports_that_are_taken);

#[track_caller]
fn refused(node: &Node, words: &[&str], wanted: &str) {
    let output = node.isula(words);
    assert_ne!(output.code(), 0, "{words:?}: {}", output.text());
    assert!(output.stderr.contains(wanted), "{words:?}: {}", output.stderr);
}

fn creations_that_are_refused(runtime: Runtime) {
    let node = node(runtime);
    let create = |flags: &[&str], wanted: &str| {
        let output = node.isula(&node.words("create", flags, &SERVE));
        assert!(output.refused(125).contains(wanted), "{flags:?}: wanted {wanted}");
    };
    create(&["--net", "nowhere"], "No such network: nowhere; there are net");
    create(&["-p", "80:80"], "publishing ports needs a network, given with --net NAME");
    create(&["-P"], "publishing ports needs a network");
    create(&["--net", "host", "-p", "80:80"], "publishing ports and the host's network");
    create(&["--ip", "10.0.0.1"], "an address needs a network");
    node.ok(&["network", "create", "--internal", "in"]);
    create(&["--net", "in", "-p", "80:80"], "has no plugin that publishes ports");
    create(&["--net", "net,host"], "conflicting options");
    create(&["--net", "net", "-p", "80:80", "-p", "80:81"], "is published twice");
    // Nothing would lead there, and the plugin would not report it.
    for address in ["[::1]", "[::]", "[fd00::1]"] {
        let port = format!("{address}:8080:80");
        let wanted = format!("host port {address}:8080/tcp cannot be published: network net gives no IPv6 address");
        create(&["--net", "net", "-p", &port], &wanted);
    }
    assert!(node.list().is_empty());
    clean_end(&node);
}

fn ports_that_are_taken(runtime: Runtime) {
    let node = node(runtime);
    server(&node, "a", &["-p", "8080:80"]);
    let run = |port: &str| node.isula(&node.words("run", &["-d", "--rm", "--net", "net", "-p", port], &SERVE));
    let refusal = run("127.0.0.1:8080:80").refused(125);
    assert!(refusal.contains("is already published by container"), "{refusal}");
    let words = node.inside(&["busybox", "nc", "-l", "-p", "8081"]);
    let mut listener = std::process::Command::new(&words[0]).args(&words[1..]).spawn().expect("busybox runs");
    deadline::until("the host listens", || {
        on_host(&node, &["cat", "/proc/net/tcp", "/proc/net/tcp6"]).text().contains(":1F91")
    });
    let refusal = run("8081:80").refused(125);
    assert!(refusal.contains("host port 0.0.0.0:8081/tcp cannot be published"), "{refusal}");
    let _ = listener.kill();
    let _ = listener.wait();
    node.ok(&["stop", "-t", "0", "a"]);
    run("8080:80").ok();
    node.remove_all();
    all_given_back(&node);
    clean_end(&node);
}

#[test]
fn networks_that_are_refused() {
    let node = builder(Runtime::Runc).start();
    node.ok(&["network", "create", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.9", "one"]);
    refused(&node, &["network", "create", "one"], "network one exists already");
    refused(&node, &["network", "create", "none"], "Invalid network name (none)");
    refused(&node, &["network", "create", "a,b"], "Invalid network name (a,b)");
    refused(&node, &["network", "create", "-d", "macvlan", "two"], "network driver `macvlan` is unknown");
    refused(&node, &["network", "create", "--subnet", "10.77.0.0/16", "two"], "overlaps with network one");
    on_host(&node, &["ip", "addr", "add", "10.78.0.1/24", "dev", "lo"]).ok();
    refused(&node, &["network", "create", "--subnet", "10.78.0.128/25", "two"], "an address or route of the host");
    refused(&node, &["network", "create", "--subnet", "fd00::/64", "two"], "is not an IPv4 address and a prefix");
    refused(&node, &["network", "create", "--gateway", "10.1.1.1", "two"], "give --subnet too");
    refused(&node, &["network", "rm", "two"], "No such network: two; there are one");
    refused(&node, &["network", "inspect", "two"], "No such network: two");
    assert_eq!(node.ok(&["network", "inspect", "-f", "{{.name}} {{.cniVersion}}", "one"]), "one 0.4.0");
    let table = node.ok(&["network", "ls"]);
    assert!(table.starts_with("NAME\tVERSION\tPLUGIN") && table.contains("bridge,portmap,firewall"), "{table}");

    // The operator's own files: a broken one hides no other, a used one is not removed.
    fs::write(node.dir().join("cni/05-broken.conflist"), "{").expect("the node's directory is ours");
    let mine = json!({"cniVersion":"0.4.0","name":"mine","type":"loopback"}).to_string();
    fs::write(node.dir().join("cni/06-mine.conf"), mine).expect("the node's directory is ours");
    let listed = node.isula(&["network", "ls", "-q"]);
    assert_eq!(listed.text(), "mine\none");
    assert!(listed.stderr.contains("WARNING: ") && listed.stderr.contains("05-broken.conflist"), "{}", listed.stderr);
    refused(&node, &["network", "rm", "mine"], "remove its file");

    let id = node.create(&["--net", "one", "--name", "user"], &SERVE);
    let text = format!("network one is in use by container user ({})", &id[..12]);
    let output = node.isula(&["network", "rm", "one", "mine"]);
    assert!(output.code() == 1 && output.stderr.contains(&text) && output.stderr.contains("mine"), "{}", output.stderr);
    node.ok(&["start", "user"]);
    refused(&node, &["network", "rm", "one"], &text);
    node.ok(&["rm", "-f", "user"]);
    assert!(on_host(&node, &["ip", "link", "show", "isula-br0"]).code() == 0);
    assert_eq!(node.ok(&["network", "rm", "one"]), "one");
    assert!(on_host(&node, &["ip", "link", "show", "isula-br0"]).code() != 0, "the bridge goes with its network");
    node.assert_clean_end();
}

#[test]
fn plugins_that_are_missing_are_named() {
    let mut node = builder(Runtime::Runc).config("cni-bin-dir", json!("/no/such/dir")).start();
    refused(
        &node,
        &["network", "create", "net"],
        "cannot find the CNI plugin `bridge` in `/no/such/dir`; install it (Debian: containernetworking-plugins)",
    );
    node.kill9();
    node.set("cni-bin-dir", json!("/usr/lib/cni"));
    node.launch();
    node.ok(&["network", "create", "net"]);
    node.create(&["--net", "net", "--name", "x"], &SERVE);
    node.kill9();
    node.set("cni-bin-dir", json!("/no/such/dir"));
    node.launch();
    refused(&node, &["start", "x"], "network net: cannot find the CNI plugin `bridge`");
    assert!(node.networks().is_empty(), "nothing was begun: {:?}", node.networks());
    node.ok(&["rm", "x"]);
    node.kill9();
    node.set("cni-bin-dir", json!("/usr/lib/cni"));
    node.launch();
    clean_end(&node);
}

#[test]
fn routes_that_lead_everywhere_leave_room() {
    let node = builder(Runtime::Runc).start();
    // As tunnels make them, to come before the default route without replacing it.
    let script = "ip link add t0 type bridge && ip addr add 192.0.2.1/24 dev t0 && ip link set t0 up && ip route add 0.0.0.0/1 dev t0 && ip route add 128.0.0.0/1 dev t0";
    on_host(&node, &["sh", "-c", script]).ok();
    node.ok(&["network", "create", "chosen"]);
    node.ok(&["network", "create", "--subnet", "10.77.0.0/24", "given"]);
    refused(&node, &["network", "create", "--subnet", "192.0.2.128/25", "x"], "an address or route of the host");
    let output = node.run(&["--rm", "--net", "chosen"], &["ip", "-o", "-4", "addr", "show", "eth0"]).ok();
    assert!(output.contains("inet "), "{output}");
    node.ok(&["network", "rm", "chosen", "given"]);
    node.assert_clean_end();
}

/// Keeps changes of networks waiting, as another daemon with the same directory may.
fn hold(node: &Node) -> fs::File {
    let dir = fs::File::open(node.dir().join("cni")).expect("the node's directory is ours");
    dir.lock().expect("no holder of the lock panics");
    dir
}

/// Ends the client's call only: the daemon's part has begun.
fn leave(node: &Node, words: &[&str]) {
    let mut caller = node.spawn(words);
    let dir = node.dir().join("cni");
    let descriptors = format!("/proc/{}/fd", node.daemon().pid);
    let waits = || {
        let open = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        open.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == dir))
    };
    deadline::until("the daemon is at work", waits);
    caller.kill().expect("it is ours");
    caller.wait().expect("it is ours");
}

#[test]
fn a_change_goes_on_without_the_client_that_asked_for_it() {
    let node = builder(Runtime::Runc).start();
    node.ok(&["network", "create", "first"]);
    let held = hold(&node);
    leave(&node, &["network", "create", "left"]);
    let next = node.spawn(&["network", "create", "next"]);
    drop(held);
    command::finish(next, deadline::PATIENCE).expect("it does not hang").ok();
    assert_eq!(node.ok(&["network", "ls", "-q"]), "first\nleft\nnext", "the next one came after it");

    let held = hold(&node);
    leave(&node, &["network", "rm", "left"]);
    let refusal = node.isula(&node.words("create", &["--net", "left"], &SERVE)).refused(125);
    assert!(refusal.contains("network left is being removed"), "{refusal}");
    drop(held);
    deadline::until("it is removed all the same", || node.ok(&["network", "ls", "-q"]) == "first\nnext");
    node.ok(&["network", "create", "left"]);
    node.ok(&["network", "rm", "first", "next", "left"]);
    node.assert_clean_end();
}
