//! The daemon dies while it copies: nothing is mounted, nothing is half there, and the copy can be made again.

use std::fs;

use integration::{Node, Runtime};

use super::{copied, place, said, text};

const POINTS: [&str; 3] = ["copy-mounted", "copy-unmounted", "copy-file-written"];

/// Those that are tried here.
pub fn points() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter()
}

on_each_runtime!(dies_copying);

fn dies_copying(runtime: Runtime) {
    for point in POINTS {
        let mut node = Node::start(runtime);
        node.create(&["--name", "c", "-v", "vol:/data"], &["true"]);
        node.kill9();
        node.launch_with(&[("ISULAD_FAILPOINT", point)]);
        let file = place(&node, "own").join("file");
        fs::write(&file, "own").unwrap();
        let output = node.isula(&["cp", text(&file), "c:/root/file"]);
        assert_ne!(output.code(), 0, "{point}");
        node.died();
        node.launch();
        node.verified();
        integration::deadline::until(&format!("nothing is mounted after {point}"), || node.mounts().is_empty());
        let listed = node.ok(&["cp", "c:/root", "-"]);
        assert!(!listed.contains("file") && !listed.contains(".isula-cp"), "{point}: a part of it is there");
        copied(&node, text(&file), "c:/root/file");
        assert_eq!(said(&node, "c:/root/file"), "own");
        node.ok(&["start", "c"]);
        node.wait("c");
        node.assert_clean_end();
    }
}

/// Killed from outside in the middle of a large copy, of a running container and of a stopped one.
#[test]
fn killed_in_the_middle() {
    let mut node = Node::start(Runtime::Runc);
    node.create(&["--name", "created"], &["true"]);
    node.sleeper("running");
    let file = place(&node, "own").join("large");
    fs::File::create(&file).unwrap().set_len(300 << 20).unwrap();
    for name in ["created", "running"] {
        let mut copying = node.spawn(&["cp", text(&file), &format!("{name}:/tmp/large")]);
        std::thread::sleep(std::time::Duration::from_millis(150));
        node.kill9();
        copying.wait().unwrap();
        node.launch();
        node.verified();
        let listed = node.ok(&["cp", &format!("{name}:/tmp"), "-"]);
        assert!(!listed.contains(".isula-cp"), "{name}");
    }
    assert_eq!(node.status_of("running"), "running");
    node.assert_clean_end();
}
