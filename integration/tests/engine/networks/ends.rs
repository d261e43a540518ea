//! When an end is answered, and what is left then: nothing.

use integration::process::Signal;
use integration::{Runtime, deadline};

use super::{all_given_back, clean_end, node, on_host, server, settings, world};

on_each_runtime!(a_pin_that_is_unmounted_meanwhile_leaves_no_rules);

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
    all_given_back(&node);
    clean_end(&node);
}
