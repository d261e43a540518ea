//! Containers of images: the image's settings, and those of the command line instead.

use std::path::Path;
use std::sync::LazyLock;

use integration::images::{self, BASIC, DEEP, Image, Layout, pack};
use integration::process::Signal;
use integration::rootfs::BUSYBOX;
use integration::{Fault, Faulty, Node, Runtime, registry};
use serde_json::json;

use super::{builder, id, inspect, listed, node, noisy, place, pushed, written};

on_each_runtime!(defaults_come_from_the_image, layers_stay_as_they_are);

/// Busybox with every setting there is.
static SETTINGS: LazyLock<Image> = LazyLock::new(|| {
    let archive = images::scratch("settings.tar");
    pack(&BUSYBOX, &archive);
    let script = r#"trap 'echo told; exit 3' USR1; echo "$0 $*"; echo ready; while :; do sleep 0.1; done"#;
    Image::empty(&images::scratch("settings")).layer(&archive).config(&[
        "--config.entrypoint=sh",
        "--config.entrypoint=-c",
        &format!("--config.entrypoint={script}"),
        "--config.cmd=first",
        "--config.cmd=second word",
        "--config.env=PATH=/bin",
        "--config.env=GREETING=hello",
        "--config.env=EMPTY=",
        "--config.user=guest:extra",
        "--config.workingdir=/made/when/missing",
        "--config.label=maker=the tests",
        "--config.label=both=image",
        "--config.volume=/data",
        "--config.exposedports=80/tcp",
        "--config.exposedports=53/udp",
        "--config.stopsignal=SIGUSR1",
    ])
});

fn defaults_come_from_the_image(runtime: Runtime) {
    let node = Node::builder(runtime).config("insecure-registries", json!(["127.0.0.0/8"])).start();
    let name = pushed(&SETTINGS, &format!("settings-{}:1", runtime.name()));
    node.ok(&["pull", &name]);
    let facts = inspect(&node, &name);
    assert_eq!(facts["Config"]["User"], "guest:extra");
    assert_eq!(facts["Config"]["Labels"]["maker"], "the tests");
    assert_eq!(facts["Config"]["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));

    node.ok(&["run", "-d", "--name", "x", "--label", "both=mine", &name]);
    node.written("x", "first second word");
    node.written("x", "ready");
    let container = node.inspect("x");
    assert_eq!(container["Image"], json!(name), "{container:#}");
    assert_eq!(container["Config"]["Labels"], json!({"maker": "the tests", "both": "mine"}));
    assert_eq!(container["Config"]["User"], "guest:extra");
    assert_eq!(container["Config"]["WorkingDir"], "/made/when/missing");
    assert!(node.ok(&["ps"]).contains(&name));
    // The image's stop signal ends it with its own code.
    node.ok(&["stop", "-t", "30", "x"]);
    assert_eq!(node.state_of("x")["ExitCode"], 3);
    node.ok(&["rm", "-v", "x"]);

    let run = |flags: &[&str], words: &[&str]| node.ok(&[&["run", "--rm"], flags, &[&name], words].concat());
    assert_eq!(run(&["--entrypoint", "id"], &[]), "uid=1000(guest) gid=2000(extra) groups=2000(extra)");
    assert_eq!(run(&["--entrypoint", "pwd"], &[]), "/made/when/missing");
    assert_eq!(run(&["--entrypoint", "pwd", "--workdir", "/tmp"], &[]), "/tmp");
    assert_eq!(run(&["--entrypoint", "echo"], &[]), "", "another entrypoint takes the command with it");
    assert_eq!(run(&["--entrypoint", ""], &["echo", "none"]), "none");
    assert_eq!(run(&["--entrypoint", "id", "-u", "root"], &["-u"]), "0");
    let environment = run(&["--entrypoint", "env", "-e", "GREETING=bye", "-e", "MORE=1"], &[]);
    for line in ["PATH=/bin", "GREETING=bye", "EMPTY=", "MORE=1", "HOME=/home/guest"] {
        assert!(environment.lines().any(|other| other == line), "`{line}` is not in {environment}");
    }
    let output = node.isula(&["run", "--rm", "--entrypoint", "no-such-command", &name]);
    assert_eq!(output.code(), 127, "{}", output.stderr);
    let output = node.isula(&["run", "--rm", "-u", "nobody-here", &name]);
    assert!(output.code() == 125 && output.stderr.contains("nobody-here"), "{}", output.stderr);
    node.assert_clean_end();
}

/// A container's own files, removals and changes stay its own.
fn layers_stay_as_they_are(runtime: Runtime) {
    let mut node = Node::builder(runtime).config("insecure-registries", json!(["127.0.0.0/8"])).start();
    let name = pushed(&BASIC, &format!("stays-{}:1", runtime.name()));
    node.ok(&["pull", &name]);
    // The script waits without a program: none can be executed from then on.
    let script = "echo mine > /etc/passwd; rm /etc/group; mkdir /new; busybox mkfifo /never; chmod 0 /bin/busybox; \
                  echo done; read word <> /never";
    node.ok(&["run", "-d", "--name", "x", &name, "sh", "-c", script]);
    node.written("x", "done");
    assert_eq!(
        node.ok(&[
            "run",
            "--rm",
            &name,
            "sh",
            "-c",
            "wc -l < /etc/passwd; ls /etc/group; ls / | grep new || echo none"
        ]),
        "2\n/etc/group\nnone"
    );
    node.restart();
    node.verified();
    // Its own changes are there when it starts again.
    node.ok(&["kill", "x"]);
    node.wait("x");
    let output = node.isula(&["start", "x"]);
    assert_eq!(output.code(), 1, "busybox cannot be executed any more: {}", output.stderr);
    assert_eq!(node.ok(&["run", "--rm", &name, "cat", "/etc/group"]).lines().count(), 3);
    node.assert_clean_end();
}

/// Changed where it is run from, the new one is taken by those that come after.
#[test]
fn pulled_when_needed() {
    let node = node();
    let name = pushed(&BASIC, "pull-policy:1");
    let output = node.isula(&["run", "--rm", "--pull=never", &name, "true"]).refused(125);
    assert!(output.contains(&name), "{output}");
    let output = node.isula(&["run", "--rm", &name, "echo", "here"]);
    assert!(output.stderr.contains(&format!("Unable to find image '{name}' locally")), "{}", output.stderr);
    assert_eq!(output.ok(), "here");
    let created = node.isula(&["create", "--name", "c", &name, "true"]);
    assert!(!created.stderr.contains("Unable"), "it is here now: {}", created.stderr);
    node.ok(&["rm", "c"]);
    // Another image of the same name.
    let other = BASIC.clone();
    let changed = Image::empty(&images::scratch("changed")).tape(&super::noise("x", 10, 1));
    registry::SHARED.push(&changed, "pull-policy:1");
    node.ok(&["run", "--rm", "--pull=missing", &name, "true"]);
    assert_eq!(id(&node, &name), other.id());
    let output = node.isula(&["run", "--rm", "--pull=always", &name, "true"]);
    assert_eq!(output.code(), 127, "it has no `true`: {}", output.stderr);
    assert_eq!(id(&node, &name), changed.id());
    // An image that cannot be pulled.
    let output = node.isula(&["run", &registry::SHARED.name("no-such:1"), "true"]).refused(125);
    assert!(output.contains("no-such:1"), "{output}");
    let output = node.isula(&["run", "--pull=sometimes", &name, "true"]);
    assert!(output.code() == 125 && output.stderr.contains("sometimes"), "{}", output.stderr);
    node.assert_clean_end();
}

#[test]
fn without_a_command() {
    let node = node();
    let layout = Layout::new(&images::scratch("no-command"));
    let manifest = layout.image(&json!({}), &[super::noise("x", 10, 1)]);
    let image = layout.single(manifest);
    let name = pushed(&image, "no-command:1");
    node.ok(&["pull", &name]);
    let refusal = node.isula(&["run", &name]).refused(125);
    assert!(refusal.to_lowercase().contains("command"), "{refusal}");
    let refusal = node.isula(&["run", &name, "/bin/sh"]).refused(127);
    assert!(refusal.contains("/bin/sh"), "{refusal}");
    node.assert_clean_end();
}

/// The most layers that an overlay takes together, and one too many.
#[test]
fn of_127_layers() {
    let node = node();
    let shelf = Faulty::serving(DEEP.layout());
    let name = shelf.name("deep:it");
    node.ok(&["pull", "-q", &name]);
    assert_eq!(node.ok(&["run", "--rm", &name, "cat", "/layers/last"]), "126");
    assert_eq!(node.ok(&["run", "--rm", &name, "ls", "/layers"]), "126\nlast");
    node.ok(&["image", "mount", &name]);
    node.ok(&["image", "unmount", &name]);
    let archive = place(&node, "deep.tar");
    node.ok(&["save", "-o", &archive, &name]);
    node.ok(&["rmi", &name]);
    node.ok(&["load", "-i", &archive]);
    assert_eq!(node.ok(&["run", "--rm", &name, "cat", "/layers/last"]), "126");
    node.assert_clean_end();
}

/// The sandbox image is built in.
#[test]
fn a_pause_without_a_network() {
    let node = builder().config("registry-mirrors", json!([])).start();
    node.ok(&["run", "-d", "--name", "p", "localhost/isulad-pause:1"]);
    let process = node.process_of("p");
    assert!(process.alive());
    process.signal(Signal::TERM);
    assert!(node.wait("p").is_some());
    node.ok(&["start", "p"]);
    // Prunes leave it.
    node.ok(&["rm", "-f", "p"]);
    node.ok(&["image", "prune", "-af"]);
    assert!(listed(&node).iter().any(|row| row.starts_with("localhost/isulad-pause:1 ")), "{:?}", listed(&node));
    let first = id(&node, "localhost/isulad-pause:1");
    node.ok(&["rmi", "-f", "localhost/isulad-pause:1"]);
    node.ok(&["run", "-d", "--name", "p", "localhost/isulad-pause:1"]);
    assert_eq!(id(&node, "localhost/isulad-pause:1"), first, "it is the same every time");
    node.assert_clean_end();
}

/// An image keeps its containers from noticing that its name has moved on.
#[test]
fn an_image_that_moved_on() {
    let mut node = node();
    let name = pushed(&BASIC, "moving:1");
    node.ok(&["pull", &name]);
    node.ok(&["create", "--name", "old", &name, "cat", "/etc/passwd"]);
    registry::SHARED.push(&noisy(50, &[1000]), "moving:1");
    node.ok(&["pull", &name]);
    node.restart();
    node.ok(&["image", "prune", "-af"]);
    let output = node.isula(&["start", "-a", "old"]);
    assert!(output.ok().contains("guest"));
    node.ok(&["rm", "old"]);
    node.ok(&["image", "prune", "-f"]);
    assert_eq!(listed(&node).len(), 1);
    node.assert_clean_end();
}

/// An image that is being pulled does not keep others waiting.
#[test]
fn meanwhile() {
    let node = node();
    let name = pushed(&BASIC, "meanwhile:1");
    node.ok(&["pull", &name]);
    let image = noisy(51, &[200_000]);
    pushed(&image, "slow:1");
    let faulty = Faulty::before(&registry::SHARED);
    let layer = image.layers()[0].0.clone();
    faulty.always(|seen| seen.gets_blob("sha256:"), Fault::Stall(1000));
    let pull = node.spawn(&["pull", &faulty.name("slow:1")]);
    faulty.until("it hangs", move |seen| seen.gets_blob(&layer) && seen.sent == 1000);
    assert_eq!(node.ok(&["run", "--rm", &name, "echo", "not waiting"]), "not waiting");
    node.ok(&["tag", &name, "other:1"]);
    node.ok(&["rmi", "other:1"]);
    let file =
        written(&node, "a.tar", &super::docker_archive(&[(&["loaded:1"], json!({}), &[super::noise("x", 10, 3)])]));
    node.ok(&["load", "-i", &file]);
    faulty.release();
    let output = integration::command::finish(pull, integration::deadline::PATIENCE).expect("it ends");
    output.ok();
    assert!(Path::new(&file).exists());
    node.assert_clean_end();
}
