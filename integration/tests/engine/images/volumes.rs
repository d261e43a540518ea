//! Volumes: named, anonymous, filled from an image, shared, kept, taken over and removed.

use std::fs;
use std::path::{Path, PathBuf};

use integration::images::{self, Image, Tape, pack};
use integration::rootfs::BUSYBOX;
use integration::tree;
use integration::{Node, Runtime};
use serde_json::{Value, json};
use std::sync::LazyLock;

use super::{builder, node, pushed};

on_each_runtime!(filled_from_the_image);

/// Busybox, and a directory for a volume with something in it.
static STORE: LazyLock<Image> = LazyLock::new(|| {
    let archive = images::scratch("store.tar");
    pack(&BUSYBOX, &archive);
    let entry = images::Entry { mode: 0o2770, owner: (1000, 2000), ..images::Entry::new(b'5', b"data/") };
    let data = Tape::new().entry(&entry, b"").file("data/first", b"from the image\n").directory("data/dir/");
    let data = data.symlink("data/link", "/etc/passwd").hard_link("data/dir/second", "data/first").directory("empty/");
    Image::empty(&images::scratch("store")).layer(&archive).tape(&data.finish()).config(&[
        "--config.volume=/data",
        "--config.volume=/made",
        "--config.env=PATH=/bin",
        "--config.cmd=sh",
    ])
});

fn volumes(node: &Node) -> Vec<String> {
    node.ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect()
}

fn inspected(node: &Node, volume: &str) -> Value {
    let text = node.ok(&["volume", "inspect", volume]);
    let mut value: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    value[0].take()
}

fn data(node: &Node, volume: &str) -> PathBuf {
    let mountpoint = inspected(node, volume)["Mountpoint"].as_str().expect("it has a place").to_owned();
    assert_eq!(Path::new(&mountpoint), node.graph().join("volumes").join(volume).join("_data"));
    mountpoint.into()
}

/// Runs a script in a container that is removed, with these flags.
fn run(node: &Node, flags: &[&str], image: &str, script: &str) -> String {
    node.ok(&[&["run", "--rm"], flags, &[image, "sh", "-c", script]].concat())
}

fn filled_from_the_image(runtime: Runtime) {
    let mut node = Node::builder(runtime).config("insecure-registries", json!(["127.0.0.0/8"])).start();
    let name = pushed(&STORE, &format!("store-{}:1", runtime.name()));
    node.ok(&["pull", &name]);
    node.ok(&[
        "create",
        "--name",
        "c",
        "-v",
        "named:/data",
        &name,
        "sh",
        "-c",
        "cat /data/first; echo more >> /data/first; sleep 100000",
    ]);
    node.ok(&["start", "c"]);
    node.written("c", "from the image");
    // As the image has it: owners, modes, links.
    let view = node.ok(&["image", "mount", &name]);
    // As the daemon sees it, which may have mounts of its own.
    let view = format!("/proc/{}/root{view}", node.daemon().pid);
    let wanted = tree::read(&Path::new(&view).join("data"));
    let mut found = tree::read(&data(&node, "named"));
    let first = |tree: &mut tree::Tree| {
        for name in ["first", "dir/second"] {
            let leaf = tree.get_mut(Path::new(name)).expect("it is there");
            leaf.contents.clear();
            leaf.mtime = (0, 0);
        }
        // The volume's root existed before it was filled, and has its own time.
        tree.get_mut(Path::new("")).expect("it is there").mtime = (0, 0);
    };
    let mut wanted = wanted;
    first(&mut wanted);
    first(&mut found);
    tree::assert_same(&found, &wanted);
    node.ok(&["image", "unmount", &name]);
    // A second container finds the first one's file, and so does the same after a crash.
    assert_eq!(run(&node, &["-v", "named:/data"], &name, "cat /data/first"), "from the image\nmore");
    node.restart();
    node.verified();
    node.ok(&["restart", "-t", "0", "c"]);
    assert_eq!(
        run(&node, &["-v", "named:/other:ro"], &name, "cat /other/first; touch /other/x 2>/dev/null || echo read-only"),
        "from the image\nmore\nmore\nread-only"
    );
    // Not if that is not wanted, nor if there is something in it.
    let flags = ["--mount", "type=volume,source=bare,target=/data,volume-nocopy"];
    assert_eq!(run(&node, &flags, &name, "ls /data"), "");
    node.ok(&["volume", "create", "own"]);
    fs::write(data(&node, "own").join("mine"), "mine").expect("root may");
    assert_eq!(run(&node, &["-v", "own:/data"], &name, "ls /data"), "mine");
    // A volume that the container before has emptied is filled again or not, but never in part.
    node.remove_all();
    let left = volumes(&node);
    for volume in ["named", "bare", "own"] {
        assert!(left.iter().any(|other| other == volume), "named volumes outlive containers: {left:?}");
    }
    node.assert_clean_end();
}

#[test]
fn anonymous_ones() {
    let node = node();
    let name = pushed(&STORE, "store-anonymous:1");
    node.ok(&["pull", &name]);
    node.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "-v",
        "/more",
        &name,
        "sh",
        "-c",
        "ls /data; touch /more/x /made/y; echo done; sleep 100000",
    ]);
    node.written("c", "done");
    let all = volumes(&node);
    assert_eq!(all.len(), 3, "two of the image's and one of the command line's: {all:?}");
    let mounts = node.inspect("c")["Mounts"].clone();
    let mut targets: Vec<&str> =
        mounts.as_array().expect("it has mounts").iter().filter_map(|it| it["Destination"].as_str()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["/data", "/made", "/more"]);
    let refusal = node.isula(&["volume", "rm", &all[0]]).refused(1);
    assert!(refusal.contains(&all[0]), "{refusal}");
    // The volumes of another container, at its places and with no more access than it has.
    assert_eq!(run(&node, &["--volumes-from", "c"], &name, "ls /more /made; touch /more/z"), "/made:\ny\n\n/more:\nx");
    assert_eq!(
        run(&node, &["--volumes-from", "c:ro"], &name, "ls /more; touch /more/w 2>/dev/null || echo no"),
        "x\nz\nno"
    );
    let refusal = node.isula(&["run", "--rm", "--volumes-from", "nobody", &name, "true"]).refused(125);
    assert!(refusal.contains("nobody"), "{refusal}");
    assert_eq!(volumes(&node), all, "it made none of its own");
    // Without -v they stay, with it they go.
    node.ok(&["rm", "-f", "c"]);
    assert_eq!(volumes(&node), all);
    let printed = node.ok(&["volume", "prune", "-f"]);
    assert!(all.iter().all(|volume| printed.contains(volume)), "{printed}");
    node.ok(&["run", "-d", "--name", "c", &name, "sleep", "100000"]);
    assert_eq!(volumes(&node).len(), 2);
    node.ok(&["rm", "-f", "-v", "c"]);
    assert_eq!(volumes(&node), Vec::<String>::new());
    // A container that removes itself takes its own with it.
    run(&node, &["-v", "kept:/data"], &name, "true");
    assert_eq!(volumes(&node), ["kept"]);
    node.assert_clean_end();
}

#[test]
fn made_listed_and_removed() {
    let mut node = node();
    assert_eq!(node.ok(&["volume", "create", "a", "--label", "k=v"]), "a");
    assert_eq!(node.ok(&["volume", "create", "a"]), "a", "made twice is made");
    let nameless = node.ok(&["volume", "create"]);
    assert_eq!(nameless.len(), 64, "{nameless}");
    let facts = inspected(&node, "a");
    assert_eq!(
        (&facts["Name"], &facts["Driver"], &facts["Labels"]),
        (&json!("a"), &json!("local"), &json!({"k": "v"}))
    );
    assert_eq!(node.ok(&["volume", "ls", "-q", "-f", "label=k=v"]), "a");
    assert_eq!(node.ok(&["volume", "ls", "-q", "-f", "name=a", "-f", "dangling=false"]), "");
    let table = node.ok(&["volume", "ls"]);
    assert!(table.lines().next().unwrap_or_default().starts_with("DRIVER"), "{table}");
    for bad in ["../up", "a/b", ".", "", "a:b", &"x".repeat(300)] {
        let output = node.isula(&["volume", "create", bad]);
        assert!(bad.is_empty() || output.code() != 0, "`{bad}`: {}", output.text());
    }
    assert_ne!(node.isula(&["volume", "create", "b", "--driver", "nfs"]).code(), 0);
    fs::write(data(&node, "a").join("file"), "contents").expect("root may");
    node.restart();
    assert_eq!(fs::read_to_string(data(&node, "a").join("file")).expect("it is there"), "contents");
    assert_eq!(node.ok(&["volume", "rm", "a"]), "a");
    node.isula(&["volume", "rm", "a"]).refused(1);
    node.ok(&["volume", "rm", "-f", "a"]);
    let output = node.isula(&["volume", "inspect", "a"]);
    assert!(output.code() != 0 && output.stderr.contains('a'));
    // Anonymous ones only, unless all are wanted.
    node.ok(&["volume", "create", "b"]);
    node.ok(&["volume", "prune", "-f"]);
    let left = volumes(&node);
    assert!(left.contains(&"b".to_owned()) && !left.contains(&nameless), "{left:?}");
    node.ok(&["volume", "prune", "-a", "-f"]);
    node.assert_clean_end();
}

/// A volume without a record is not the engine's to delete; a request by its name gets it with its content.
#[test]
fn taken_over() {
    let mut node = node();
    let stranger = node.graph().join("volumes/found/_data");
    fs::create_dir_all(&stranger).expect("root may");
    fs::write(stranger.join("old"), "old").expect("root may");
    node.restart();
    node.ok(&["volume", "prune", "-af"]);
    assert!(stranger.join("old").exists());
    assert_eq!(node.run(&["--rm", "-v", "found:/v"], &["cat", "/v/old"]).ok(), "old");
    assert_eq!(volumes(&node), ["found"]);
    node.ok(&["volume", "rm", "found"]);
    assert!(!stranger.exists());
    node.assert_clean_end();
}

/// An image that wants its volume somewhere else than within itself.
#[test]
fn beneath_the_root_only() {
    let node = builder().start();
    let outside = node.dir().join("outside");
    fs::create_dir(&outside).expect("it is ours");
    fs::write(outside.join("secret"), "secret").expect("it is ours");
    let there = outside.display().to_string();
    let archive = images::scratch("escape.tar");
    pack(&BUSYBOX, &archive);
    let links = Tape::new()
        .symlink("out", &there)
        .symlink("up", "../../../../../../../..")
        .symlink("cwd", &format!("{there}/made"));
    let image = Image::empty(&images::scratch("escape")).layer(&archive).tape(&links.finish());
    let image = image.config(&[
        "--config.volume=/out",
        "--config.volume=/up/etc",
        "--config.workingdir=/cwd/deep",
        "--config.env=PATH=/bin",
    ]);
    let name = pushed(&image, "escape:1");
    node.ok(&["pull", &name]);
    let output = node.isula(&["run", "--name", "x", &name, "sh", "-c", "cat /out/secret; pwd"]);
    assert!(!output.text().contains("secret"), "{output:?}");
    assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 1, "nothing was made outside");
    // Volumes go with their container, perhaps at this moment.
    for volume in fs::read_dir(node.graph().join("volumes")).into_iter().flatten().flatten() {
        let data = volume.path().join("_data");
        assert!(!data.join("secret").exists());
        // `/up/etc` is the container's `/etc`, where the runtime makes an empty file to mount its host name on.
        assert_eq!(fs::read_to_string(data.join("hostname")).unwrap_or_default(), "");
    }
    node.assert_clean_end();
}
