//! Room on the disk: counted, and used up.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use integration::images::{BASIC, ODD};
use integration::{Fault, Faulty, registry};
use serde_json::json;

use super::{
    assert_nothing_of_images, builder, docker_archive, id, inspect, listed, node, noise, noisy, place, pushed, written,
};

/// Bytes of the contents of all files below, each file once.
fn contents(dir: &Path) -> u64 {
    fn add(dir: &Path, seen: &mut HashMap<u64, u64>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let meta = entry.metadata().expect("it is there");
            if meta.is_dir() {
                add(&entry.path(), seen);
            } else if meta.is_file() {
                seen.insert(meta.ino(), meta.len());
            }
        }
    }
    let mut seen = HashMap::new();
    add(dir, &mut seen);
    seen.values().sum()
}

/// `info`'s figure for the images' room agrees with the disk.
#[test]
fn counted_as_it_is() {
    let mut node = node();
    let names = [pushed(&BASIC, "counted:1"), pushed(&ODD, "counted:2"), pushed(&noisy(60, &[100_000]), "counted:3")];
    let layers = |node: &integration::Node| {
        let dir = node.graph().join("images/layers");
        let each = fs::read_dir(dir).into_iter().flatten().flatten();
        let documents = contents(&node.graph().join("images/blobs"));
        each.map(|layer| contents(&layer.path().join("fs"))).sum::<u64>() + documents
    };
    let reported = |node: &integration::Node| node.info().image_bytes;
    assert_eq!(reported(&node), 0);
    for name in &names {
        node.ok(&["pull", name]);
        assert_eq!(reported(&node), layers(&node), "{name}");
    }
    assert_eq!(node.info().images, 3);
    node.restart();
    node.verified();
    assert_eq!(reported(&node), layers(&node), "known again after a restart");
    // Each image's own: as it is unpacked.
    let size = inspect(&node, &names[2])["Size"].as_u64().expect("it has a size");
    assert_eq!(size, 100_000);
    let output = node.ok(&["info"]);
    assert!(output.contains("Images: 3"), "{output}");
    for name in &names {
        node.ok(&["rmi", name]);
        assert_eq!(reported(&node), layers(&node), "{name} is gone");
    }
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

/// Fills the graph's own filesystem but for this many bytes.
fn fill(graph: &Path, but: usize) {
    use std::io::Write;
    let mut file = fs::File::create(graph.join("ballast")).expect("the filesystem is ours");
    while file.write_all(&[0; 1 << 16]).is_ok() {}
    drop(file);
    let length = fs::metadata(graph.join("ballast")).expect("it is there").len();
    let file = fs::OpenOptions::new().write(true).open(graph.join("ballast")).expect("it is there");
    file.set_len(length.saturating_sub(but as u64)).expect("it can be cut");
}

#[test]
fn used_up_in_the_middle() {
    let mut node = builder().graph_size(128 << 20).start();
    let small = pushed(&noisy(61, &[50_000]), "small:1");
    node.ok(&["pull", &small]);
    node.run_detached(&["--name", "runs"], &["sleep", "100000"]);
    let image = noisy(62, &[9_000_000; 3]);
    let large = pushed(&image, "large:1");
    let archive =
        written(&node, "large.tar", &docker_archive(&[(&["large:2"], json!({}), &[noise("x", 25_000_000, 7)])]));
    // The journal holds the last 16 MiB back for urgent records.
    fill(&node.graph(), 20 << 20);
    for words in [&["pull", &large][..], &["load", "-i", &archive], &["import", &archive, "large:3"]] {
        let refusal = node.isula(words).refused(1);
        assert!(["space", "full"].iter().any(|word| refusal.to_lowercase().contains(word)), "{words:?}: {refusal}");
        assert_eq!(listed(&node).len(), 1, "{words:?}");
        integration::deadline::until("its remains are removed", || node.ingest().is_empty());
        // Layers that were whole wait for another attempt.
        node.ok(&["image", "prune", "-f"]);
    }
    // Everything else works: existing images can be used, and removals free space.
    assert_eq!(id(&node, &small), noisy_id(&small));
    node.create(&["--name", "more"], &["true"]);
    // With less than that something new is refused, with the reason.
    fill(&node.graph(), 4 << 20);
    let refusal = node.isula(&node.words("create", &["--name", "too-much"], &["true"])).refused(125);
    assert!(refusal.contains("no space left"), "{refusal}");
    assert_eq!(node.status_of("runs"), "running");
    node.ok(&["stop", "-t", "0", "runs"]);
    node.ok(&["rmi", &small]);
    node.restart();
    node.verified();
    fs::remove_file(node.graph().join("ballast")).expect("it is there");
    node.ok(&["pull", &large]);
    assert_eq!(id(&node, &large), image.id());
    node.ok(&["load", "-i", &archive]);
    node.assert_clean_end();
}

/// The id of something in the shared registry, by its manifest.
fn noisy_id(name: &str) -> String {
    let name = name.strip_prefix(&format!("{}/", registry::SHARED.host())).expect("it is in the shared registry");
    registry::SHARED.raw(name)["config"]["digest"].as_str().expect("it has a configuration").to_owned()
}

/// A container's writes do not count for its image, and its removal gives the room back.
#[test]
fn a_pull_holds_no_more_than_it_needs() {
    let node = node();
    let image = noisy(63, &[2_000_000]);
    let name = pushed(&image, "held:1");
    let faulty = Faulty::before(&registry::SHARED);
    let layer = image.layers()[0].0.clone();
    faulty.once(move |seen| seen.gets_blob(&layer), Fault::Stall(1_900_000));
    let pull = node.spawn(&["pull", &name.replace(&registry::SHARED.host(), &faulty.host())]);
    faulty.until("it is nearly done", |seen| seen.sent == 1_900_000);
    // No archive is kept beside the layer that is being unpacked.
    let during: u64 = node.ingest().iter().map(|dir| contents(dir)).sum();
    assert!(during < 2_100_000, "{during} bytes");
    faulty.release();
    integration::command::finish(pull, integration::deadline::PATIENCE).expect("it ends").ok();
    let whole = contents(&node.graph().join("images"));
    assert!(whole < 2_100_000, "{whole} bytes for an image of 2,000,000");
    assert!(Path::new(&place(&node, "g")).exists());
    node.assert_clean_end();
}
