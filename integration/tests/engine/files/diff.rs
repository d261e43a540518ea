//! A container's changes.

use integration::{Node, Runtime};

use super::{copied, place, text};

on_each_runtime!(changes_are_listed_and_the_engines_own_are_not);

fn changes_are_listed_and_the_engines_own_are_not(runtime: Runtime) {
    let node = Node::start(runtime);
    node.create(&["--name", "created"], &["true"]);
    assert_eq!(node.ok(&["diff", "created"]), "");
    node.run(&["--name", "idle", "-v", "volume:/data/deep"], &["true"]);
    assert_eq!(node.ok(&["diff", "idle"]), "", "places of mounts are the engine's");
    let script = "echo x > /etc/new; rm /etc/group; chmod 700 /etc/passwd; mkdir /a; echo > /a/b; \
                  rm -r /home; mkdir /home; touch \"/a/$(printf 'x\\ny')\"; echo ready; trap 'exit 0' TERM; sleep 1000 & wait";
    node.run_detached(&["--name", "c"], &["sh", "-c", script]);
    integration::deadline::until("it has changed its files", || node.ok(&["logs", "c"]).contains("ready"));
    let expected = "A /a\nA /a/b\nA /a/x\\ny\nC /etc\nD /etc/group\nA /etc/new\nC /etc/passwd\nC /home\nD /home/guest";
    assert_eq!(node.ok(&["diff", "c"]), expected);
    node.ok(&["stop", "c"]);
    assert_eq!(node.ok(&["diff", "c"]), expected);
    node.assert_clean_end();
}

#[test]
fn copied_files_are_changes_and_a_direct_root_has_none() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "c"], &["true"]);
    let own = place(&node, "own");
    std::fs::write(own.join("file"), "x").unwrap();
    copied(&node, &format!("{}/file", text(&own)), "c:/root");
    assert_eq!(node.ok(&["diff", "c"]), "C /root\nA /root/file");
    let root = place(&node, "root");
    integration::rootfs::make(&root);
    node.ok(&["create", "--name", "direct", "--rootfs-direct", "--external-rootfs", text(&root), "none", "true"]);
    let refusal = node.isula(&["diff", "direct"]).refused(1);
    assert!(refusal.contains("there is nothing to compare with"), "{refusal}");
    copied(&node, &format!("{}/file", text(&own)), "direct:/root");
    assert!(root.join("root/file").exists(), "it is written into directly");
    node.assert_clean_end();
}
