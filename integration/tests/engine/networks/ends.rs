//! The moment at which an end is answered: nothing of the network is left by then.

use integration::process::Signal;
use integration::{Runtime, deadline};

use super::{clean_end, node, nothing_of, on_host, server, settings, world};

on_each_runtime!(
    a_pin_that_is_unmounted_meanwhile_leaves_no_rules,
    an_interface_that_is_gone_leaves_no_rules,
    an_end_is_answered_when_the_address_is_free,
);

/// `bridge` finds by the namespace which addresses it has masqueraded.
fn a_pin_that_is_unmounted_meanwhile_leaves_no_rules(runtime: Runtime) {
    let mut node = node(runtime);
    server(&node, "a", &["-p", "8080:80"]);
    let process = node.process_of("a");
    let pin = settings(&node, "a")["SandboxKey"].as_str().expect("text").to_owned();
    assert!(world(&node).rules.iter().any(|rule| rule.contains("MASQUERADE") || rule.contains("CNI-")));
    node.kill9();
    process.signal(Signal::KILL);
    assert!(process.wait_gone(deadline::PATIENCE));
    on_host(&node, &["umount", &pin]).ok();
    node.launch();
    node.verified();
    assert_eq!(node.wait("a"), Some(137));
    assert!(nothing_of(world(&node)), "left behind: {:?}", world(&node));
    clean_end(&node);
}

/// As after a DEL that was killed between the interface and the rules, when the next one finds no address, or after the
/// rules.
fn an_interface_that_is_gone_leaves_no_rules(runtime: Runtime) {
    let node = node(runtime);
    for flush in [false, true] {
        server(&node, "a", &["-p", "8080:80"]);
        let pin = settings(&node, "a")["SandboxKey"].as_str().expect("text").to_owned();
        on_host(&node, &["nsenter", &format!("--net={pin}"), "ip", "link", "del", "eth0"]).ok();
        assert!(world(&node).rules.iter().any(|rule| rule.contains("MASQUERADE")));
        if flush {
            on_host(&node, &["iptables", "-t", "nat", "-F"]).ok();
            on_host(&node, &["iptables", "-t", "nat", "-X"]).ok();
        }
        node.ok(&["stop", "-t", "0", "a"]);
        assert!(nothing_of(world(&node)), "left behind, flushed {flush}: {:?}", world(&node));
        node.ok(&["rm", "a"]);
    }
    clean_end(&node);
}

fn an_end_is_answered_when_the_address_is_free(runtime: Runtime) {
    let node = node(runtime);
    node.ok(&["network", "create", "--subnet", "10.200.8.0/24", "fixed"]);
    let flags = |name: &'static str| ["--net", "fixed", "--ip", "10.200.8.9", "-p", "8080:80", "--name", name];
    let free = |after: &str| assert!(nothing_of(world(&node)), "after {after}: {:?}", world(&node));
    for _ in 0..3 {
        node.run_detached(&flags("stopped"), &["sleep", "100000"]);
        node.ok(&["stop", "-t", "0", "stopped"]);
        free("stop");
        node.run_detached(&flags("killed"), &["sleep", "100000"]);
        node.ok(&["kill", "killed"]);
        free("kill");
        node.run(&flags("ended"), &["true"]).ok();
        free("the end of run");
        node.run_detached(&flags("waited"), &["sleep", "0.2"]);
        assert_eq!(node.wait("waited"), Some(0));
        free("wait");
        node.ok(&["start", "killed"]);
        node.process_of("killed").signal(Signal::KILL);
        // A container that has ended by itself is stopped already, but perhaps not released.
        node.wait("killed");
        node.ok(&["stop", "killed"]);
        free("an end");
        for name in ["stopped", "killed", "ended", "waited"] {
            node.ok(&["rm", name]);
        }
    }
    clean_end(&node);
}
