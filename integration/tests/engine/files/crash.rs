//! The daemon dies while it copies: nothing is mounted, nothing is half there, and the copy can be made again.

use std::fs;

use integration::deadline::until;
use integration::{Node, Process, Runtime};

use super::{content_of, copied, half_a_file, place, text};

const POINTS: [&str; 3] = ["copy-mounted", "copy-unmounted", "copy-file-written"];

/// The failpoints that are tried here.
pub(crate) fn points() -> impl Iterator<Item = &'static str> {
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
        until(&format!("nothing is mounted after {point}"), || node.mounts().is_empty());
        let listed = node.ok(&["cp", "c:/root", "-"]);
        assert!(!listed.contains("file") && !listed.contains(".isula-cp"), "{point}: a part of it is there");
        copied(&node, text(&file), "c:/root/file");
        assert_eq!(content_of(&node, "c:/root/file"), "own");
        node.ok(&["start", "c"]);
        node.wait("c");
        node.assert_clean_end();
    }
}

/// Killed from outside in the middle of a copy, of a running container and of a stopped one.
#[test]
fn killed_in_the_middle() {
    let mut node = Node::start(Runtime::Runc);
    node.create(&["--name", "created"], &["true"]);
    node.sleeper("running");
    for name in ["created", "running"] {
        let (mut copying, _stdin) = half_a_file(&node, &format!("{name}:/tmp"));
        until("a part of the file is written", || written(node.daemon()) > 0);
        node.kill9();
        assert!(!copying.wait().unwrap().success(), "{name}");
        node.launch();
        node.verified();
        let listed = node.ok(&["cp", &format!("{name}:/tmp"), "-"]);
        assert!(!listed.contains("half") && !listed.contains(".isula-cp"), "{name}");
    }
    assert_eq!(node.status_of("running"), "running");
    node.assert_clean_end();
}

/// Bytes in the files that the daemon is making: those have no name yet, or one of its own.
fn written(daemon: Process) -> u64 {
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().flatten().map(|entry| entry.path());
    let drafts = open.filter(|fd| {
        let target = fs::read_link(fd).unwrap_or_default();
        target
            .file_name()
            .is_some_and(|name| [&b"#"[..], b".isula-cp"].iter().any(|it| name.as_encoded_bytes().starts_with(it)))
    });
    drafts.filter_map(|draft| Some(fs::metadata(draft).ok()?.len())).sum()
}
