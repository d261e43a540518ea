//! Images and volumes, against registries and archives that our code had no part in.

mod access;
mod archives;
mod bad_archives;
mod bad_registries;
mod config;
mod crash;
mod interrupted;
mod names;
mod pull;
mod space;
mod trees;
mod volumes;

pub(crate) use crash::points;

use std::path::{Path, PathBuf};
use std::process::Command;

use integration::command::tool;
use integration::images::{self, Image, Tape, architecture};
use integration::{Node, NodeBuilder, Registry, Runtime, command, deadline, registry};
use serde_json::{Value, json};

/// An engine to be, that takes loopback for insecure and has no certificates of the machine's.
fn builder() -> NodeBuilder {
    Node::builder(Runtime::Runc)
        .config("insecure-registries", json!(["127.0.0.0/8"]))
        .config("certs-dir", json!("/no/such/directory"))
}

fn node() -> Node {
    builder().start()
}

/// Where the tests' own file is, in the node's directory.
fn place(node: &Node, name: &str) -> String {
    node.dir().join(name).display().to_string()
}

/// Puts an image into the registry that all share, and gives its name there.
fn pushed(image: &Image, name: &str) -> String {
    let shared: &Registry = &registry::SHARED;
    shared.push(image, name);
    shared.name(name)
}

/// `isula image inspect` of one image.
#[track_caller]
fn inspect(node: &Node, image: &str) -> Value {
    let text = node.ok(&["image", "inspect", image]);
    let mut value: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    value[0].take()
}

/// An image's id, with its algorithm.
#[track_caller]
fn id(node: &Node, image: &str) -> String {
    inspect(node, image)["Id"].as_str().expect("an image has an id").to_owned()
}

/// The digests of an image's layers as they are unpacked.
#[track_caller]
fn diff_ids(node: &Node, image: &str) -> Value {
    inspect(node, image)["RootFS"]["Layers"].take()
}

/// All images: their names and ids as `images` shows them.
#[track_caller]
fn listed(node: &Node) -> Vec<String> {
    let rows = node.ok(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    rows.lines().map(str::to_owned).collect()
}

/// # Panics
/// When an image, or anything of one, is there.
#[track_caller]
fn assert_nothing_of_images(node: &Node) {
    assert_eq!(listed(node), Vec::<String>::new());
    let empty = || node.storage().is_empty() && node.mounts().is_empty();
    deadline::until("nothing is left of images", empty);
}

/// The same after a refusal: layers that were whole may wait for another attempt, and a prune takes them.
///
/// # Panics
/// When there is more.
#[track_caller]
fn assert_nothing_visible(node: &Node) {
    assert_eq!(listed(node), Vec::<String>::new());
    deadline::until("nothing is left half made", || node.ingest().is_empty());
    node.ok(&["image", "prune", "-f"]);
    assert_nothing_of_images(node);
}

/// A layer of one file named `name`, with incompressible contents that follow from `seed`.
fn noise(name: &str, size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    Tape::new().directory("noise/").file(&format!("noise/{name}"), &bytes).finish()
}

/// An image of its own: busybox is not in it, and its layers are `sizes` of noise.
fn noisy(seed: u64, sizes: &[usize]) -> Image {
    let image = Image::empty(&images::scratch("noisy"));
    let layers = sizes.iter().zip(seed * 100..);
    layers.fold(image, |image, (size, seed)| image.tape(&noise(&format!("{seed}"), *size, seed)))
}

/// An image's names, configuration and layers.
type Handmade<'a> = (&'a [&'a str], Value, &'a [Vec<u8>]);

/// A docker-archive by hand.
fn docker_archive(images: &[Handmade<'_>]) -> Vec<u8> {
    let mut tape = Tape::new();
    let mut manifest = Vec::new();
    for (names, config, layers) in images {
        let mut config = config.clone();
        let diff_ids: Vec<String> = layers.iter().map(|layer| images::digest(layer)).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["os"] = "linux".into();
        config["architecture"] = architecture().into();
        let config = config.to_string();
        let hex = images::digest(config.as_bytes()).replace("sha256:", "");
        tape = tape.file(&format!("{hex}.json"), config.as_bytes());
        let mut files = Vec::new();
        for (layer, id) in layers.iter().zip(&diff_ids) {
            let file = format!("{}/layer.tar", id.replace("sha256:", ""));
            tape = tape.file(&file, layer);
            files.push(file);
        }
        manifest.push(json!({"Config": format!("{hex}.json"), "RepoTags": names, "Layers": files}));
    }
    tape.file("manifest.json", Value::from(manifest).to_string().as_bytes()).finish()
}

/// The id and the diff ids of the image in an archive, as skopeo finds them when it copies all of it.
fn as_skopeo_reads(source: &str) -> (String, Value) {
    let mut inspect = Command::new("skopeo");
    let config = command::run(inspect.args(["inspect", "--config", "--raw", source]), deadline::PATIENCE);
    let id = images::digest(&config.stdout);
    config.ok();
    let layout = images::scratch("read");
    tool(&["skopeo", "copy", "--quiet", "--insecure-policy", source, &format!("oci:{}:it", layout.display())]);
    let diff_ids = Image::new(layout.clone(), "it").configuration()["rootfs"]["diff_ids"].take();
    std::fs::remove_dir_all(layout).expect("it is ours");
    (id, diff_ids)
}

/// Writes a file of the test's own.
fn written(node: &Node, name: &str, bytes: &[u8]) -> String {
    std::fs::write(node.dir().join(name), bytes).expect("the node's directory is ours");
    place(node, name)
}

/// Every file below `dir`, at any depth.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
