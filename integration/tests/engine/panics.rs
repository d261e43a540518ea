//! A panic of the daemon costs the one task in which it happened, or ends the daemon at once. A daemon that runs on
//! always answers.

use std::os::unix::process::ExitStatusExt;

use integration::{Node, Runtime};

#[test]
fn one_that_nothing_recovers_from_ends_the_daemon() {
    let mut node = Node::start(Runtime::Runc);
    node.sleeper("x");
    let process = node.process_of("x");
    node.kill9();
    // A backtrace of a debug build takes long on a busy machine.
    node.launch_with(&[("ISULAD_FAILPOINT", "volume-create-before-record:1:panic"), ("RUST_BACKTRACE", "0")]);
    assert_ne!(node.isula(&["volume", "create", "data"]).code(), 0);
    let status = node.died();
    assert_eq!(status.signal(), Some(6), "{status}");
    let log = node.log();
    assert!(log.contains("the daemon ends now, containers run on"), "{log}");
    assert!(process.alive());
    node.launch();
    node.verified();
    assert_eq!(node.process_of("x"), process);
    // And the parts that the creation had made by then are gone.
    integration::deadline::until("the sweep", || node.info().warnings.iter().any(|it| it.contains("volume data")));
    assert!(!node.graph().join("volumes/data").exists());
    node.assert_clean_end();
}

#[test]
fn one_of_an_effect_is_its_outcome() {
    let mut node = Node::start(Runtime::Runc);
    node.kill9();
    node.launch_with(&[("ISULAD_FAILPOINT", "start-after-intent:1:panic"), ("RUST_BACKTRACE", "0")]);
    let refused = node.run(&["--name", "x"], &["true"]).refused(125);
    assert!(refused.contains("ended abnormally"), "{refused}");
    node.ok(&["rm", "-f", "x"]);
    assert_eq!(node.run(&["--name", "y"], &["true"]).code(), 0);
    node.assert_clean_end();
}
