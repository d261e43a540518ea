//! Export, and the image that is made of it.

use std::fs;

use integration::command::tool;
use integration::{Node, Runtime};

use super::{copied, place, text};

on_each_runtime!(an_export_makes_an_image);

fn an_export_makes_an_image(runtime: Runtime) {
    let node = Node::start(runtime);
    let host = place(&node, "host");
    fs::write(host.join("mounted"), "").unwrap();
    let bind = format!("{}:/data", text(&host));
    let script = "echo changed > /etc/changed; rm /etc/group; echo ready; trap 'exit 0' TERM; sleep 1000 & wait";
    node.run_detached(&["--name", "c", "-v", &bind], &["sh", "-c", script]);
    integration::deadline::until("it has changed its files", || node.ok(&["logs", "c"]).contains("ready"));
    for state in ["running", "stopped"] {
        let tar = place(&node, "own").join(format!("{state}.tar"));
        node.ok(&["export", "-o", text(&tar), "c"]);
        let listed = tool(&["tar", "-tf", text(&tar)]);
        for name in ["bin/busybox", "etc/changed", "data/", "proc/"] {
            assert!(listed.lines().any(|line| line == name), "{state}: {name}");
        }
        for name in ["etc/group", "data/mounted", "proc/1/", "dev/null"] {
            assert!(!listed.lines().any(|line| line == name), "{state}: {name}");
        }
        let image = format!("exported-{state}");
        node.ok(&["import", text(&tar), &image]);
        let output = node.ok(&["run", "--rm", &image, "cat", "/etc/changed"]);
        assert_eq!(output, "changed", "{state}");
        node.ok(&["stop", "c"]);
        integration::deadline::until("nothing is mounted", || node.mounts().is_empty());
    }
    assert!(node.isula(&["export", "nobody"]).refused(1).contains("No such container:nobody"));
    let missing = node.isula(&["export", "-o", "/no/such/dir/x.tar", "c"]).refused(1);
    assert!(missing.contains("No such file"), "{missing}");
    node.assert_clean_end();
}

/// The root was unmounted by hand: the message names that, and not an ended container.
#[test]
fn a_root_that_is_not_mounted_any_more_is_named() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("c");
    for mount in node.mounts().iter().filter(|mount| mount.to_string_lossy().contains("/mnt/rootfs/")) {
        nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
    let tar = node.dir().join("x.tar");
    let refusal = node.isula(&["export", "-o", text(&tar), "c"]).refused(1);
    assert!(refusal.contains("is not mounted at") && !refusal.contains("ended"), "{refusal}");
    node.ok(&["restart", "-t", "0", "c"]);
    node.ok(&["export", "-o", text(&tar), "c"]);
    node.assert_clean_end();
}

#[test]
fn an_exported_tree_equals_the_containers_root() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "c"], &["true"]);
    let own = place(&node, "own");
    fs::write(own.join("file"), "x").unwrap();
    fs::hard_link(own.join("file"), own.join("other")).unwrap();
    copied(&node, text(&own), "c:/srv");
    let tar = node.dir().join("x.tar");
    node.ok(&["export", "-o", text(&tar), "c"]);
    let out = place(&node, "out");
    tool(&["tar", "-C", text(&out), "-xf", text(&tar)]);
    assert_eq!(fs::read(out.join("srv/other")).unwrap(), b"x");
    let ino = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(out.join(name)).unwrap());
    assert_eq!(ino("srv/file"), ino("srv/other"));
    node.assert_clean_end();
}
