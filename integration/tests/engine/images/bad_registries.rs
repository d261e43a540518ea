//! Registries with malformed answers: a clear refusal, and nothing of it is to be seen.

use integration::images::{self, Layout, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Tape, architecture, descriptor};
use integration::{Fault, Faulty, registry};
use serde_json::{Value, json};

use super::{assert_nothing_of_images, assert_nothing_visible, builder, id, node, noisy, pushed};

#[test]
fn bytes_that_are_not_those_promised() {
    let node = node();
    let image = noisy(30, &[60_000, 60_000]);
    let name = pushed(&image, "spoiled:1");
    let faulty = Faulty::before(&registry::SHARED);
    let name = name.replace(&registry::SHARED.host(), &faulty.host());
    let (layer, size) = image.layers()[1].clone();
    for fault in [
        Fault::Flip(size / 2),
        Fault::Flip(size - 1),
        Fault::Append(vec![0; 100]),
        Fault::Instead(vec![]),
        Fault::Instead(vec![0x1f, 0x8b, 8, 0]),
        Fault::Instead(vec![b'x'; usize::try_from(size).expect("it is small")]),
    ] {
        let digest = layer.clone();
        faulty.always(move |seen| seen.gets_blob(&digest), fault.clone());
        let refusal = node.isula(&["pull", &name]).refused(1);
        assert!(refusal.contains(&layer[7..19]), "{fault:?} names the layer: {refusal}");
        assert_nothing_visible(&node);
        faulty.release();
    }
    // Its configuration and its manifest.
    let config = image.id();
    for part in [config.clone(), image.digest()] {
        let digest = part.clone();
        faulty.always(move |seen| seen.path.contains(&digest), Fault::Flip(20));
        let by_digest = format!("{}@{}", faulty.name("spoiled"), image.digest());
        let refusal = node.isula(&["pull", &by_digest]).refused(1);
        assert!(refusal.contains("digest") || refusal.contains(&part[7..19]), "{refusal}");
        assert_nothing_visible(&node);
        faulty.release();
    }
    node.ok(&["pull", &name]);
    assert_eq!(id(&node, &name), image.id());
    node.assert_clean_end();
}

/// A layout's content, and the words of its refusal.
type Case = (&'static str, fn(&Layout) -> Value, &'static [&'static str]);

fn layer() -> Vec<u8> {
    Tape::new().file("file", b"contents").finish()
}

fn config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| images::digest(layer)).collect();
    json!({"os": "linux", "architecture": architecture(), "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

const DOCUMENTS: &[Case] = &[
    (
        "wrong diff id",
        |layout| {
            let blob = layout.blob(OCI_LAYER, &layer());
            let config = layout.json(OCI_CONFIG, &config(&[b"another".to_vec()]));
            layout.manifest(&config, &[blob])
        },
        &["digest of its content"],
    ),
    (
        "fewer diff ids than layers",
        |layout| {
            let blob = layout.blob(OCI_LAYER, &layer());
            let config = layout.json(OCI_CONFIG, &config(&[]));
            layout.manifest(&config, &[blob])
        },
        &["layers"],
    ),
    (
        "unknown layer type",
        |layout| {
            let blob = layout.blob("application/vnd.example.strange", &layer());
            let config = layout.json(OCI_CONFIG, &config(&[layer()]));
            layout.manifest(&config, &[blob])
        },
        &["application/vnd.example.strange"],
    ),
    (
        "encrypted layer",
        |layout| {
            let blob = layout.blob("application/vnd.oci.image.layer.v1.tar+encrypted", &layer());
            let config = layout.json(OCI_CONFIG, &config(&[layer()]));
            layout.manifest(&config, &[blob])
        },
        &["encrypted"],
    ),
    (
        "an artifact",
        |layout| {
            let blob = layout.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart");
            let config = layout.json("application/vnd.cncf.helm.config.v1+json", &json!({"name": "chart"}));
            layout.manifest(&config, &[blob])
        },
        &["application/vnd.cncf.helm.config.v1+json"],
    ),
    (
        "configuration that is no JSON",
        |layout| {
            let blob = layout.blob(OCI_LAYER, &layer());
            let config = layout.blob(OCI_CONFIG, b"{\"os\": ");
            layout.manifest(&config, &[blob])
        },
        &["config"],
    ),
    (
        "configuration that is another thing",
        |layout| {
            let config = layout.json(OCI_CONFIG, &json!([1, 2, 3]));
            layout.manifest(&config, &[])
        },
        &["config"],
    ),
    ("manifest that is no JSON", |layout| layout.blob(OCI_MANIFEST, b"not json at all"), &["manifest"]),
    (
        "manifest without a configuration",
        |layout| layout.json(OCI_MANIFEST, &json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []})),
        &["config"],
    ),
    (
        "manifest of schema 1",
        |layout| {
            let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            let text = json!({"schemaVersion": 1, "name": "x", "tag": "it", "fsLayers": [], "history": []});
            layout.blob(old, text.to_string().as_bytes())
        },
        &["schema 1"],
    ),
    (
        "digest of another algorithm",
        |layout| {
            let mut blob = layout.blob(OCI_LAYER, &layer());
            blob["digest"] = format!("md5:{}", "0".repeat(32)).into();
            let config = layout.json(OCI_CONFIG, &config(&[layer()]));
            layout.manifest(&config, &[blob])
        },
        &["md5"],
    ),
    (
        "digest with a path in it",
        |layout| {
            let mut blob = layout.blob(OCI_LAYER, &layer());
            blob["digest"] = "sha256:../../../../etc/passwd".into();
            let config = layout.json(OCI_CONFIG, &config(&[layer()]));
            layout.manifest(&config, &[blob])
        },
        &["digest"],
    ),
    (
        "negative size",
        |layout| {
            let mut blob = layout.blob(OCI_LAYER, &layer());
            blob["size"] = (-1).into();
            let config = layout.json(OCI_CONFIG, &config(&[layer()]));
            layout.manifest(&config, &[blob])
        },
        &["size"],
    ),
    (
        "configuration of a gigabyte",
        |layout| {
            let mut config = layout.json(OCI_CONFIG, &config(&[]));
            config["size"] = (1_u64 << 30).into();
            layout.manifest(&config, &[])
        },
        &["more than"],
    ),
    (
        "a layer that is not there",
        |layout| {
            let config = layout.json(OCI_CONFIG, &config(&[layer()]));
            layout.manifest(&config, &[descriptor(OCI_LAYER, &layer())])
        },
        &["does not have blob"],
    ),
    ("an empty index", |layout| layout.nested(&[]), &["platform"]),
    (
        "a layer that is no archive",
        |layout| {
            let noise = vec![0x77; 5000];
            let blob = layout.blob(OCI_LAYER, &noise);
            let config = layout.json(OCI_CONFIG, &config(&[noise]));
            layout.manifest(&config, &[blob])
        },
        &["tar"],
    ),
    (
        "a layer cut short within a file",
        |layout| {
            let mut short = layer();
            short.truncate(515);
            let blob = layout.blob(OCI_LAYER, &short);
            let config = layout.json(OCI_CONFIG, &config(&[short]));
            layout.manifest(&config, &[blob])
        },
        &["ends"],
    ),
];

#[test]
fn documents_that_make_no_sense() {
    let node = node();
    for (what, make, complaints) in DOCUMENTS {
        let layout = Layout::new(&images::scratch("senseless"));
        let manifest = make(&layout);
        let shelf = Faulty::serving(layout.single(manifest).layout());
        let name = shelf.name("senseless:it");
        let refusal = node.isula(&["pull", &name]).refused(1);
        for complaint in *complaints {
            let (refusal, complaint) = (refusal.to_lowercase(), complaint.to_lowercase());
            assert!(refusal.contains(&complaint), "{what}: `{complaint}` is not in {refusal}");
        }
        assert_nothing_visible(&node);
    }
    node.assert_clean_end();
}

/// An image without a platform until its configuration is read.
#[test]
fn of_another_platform_than_asked_for() {
    let node = node();
    let layout = Layout::new(&images::scratch("plan9"));
    let manifest = layout.image(&json!({"os": "plan9", "architecture": "mips"}), &[layer()]);
    let shelf = Faulty::serving(layout.single(manifest).layout());
    let refusal = node.isula(&["pull", "--platform", "linux/s390x", &shelf.name("other:it")]).refused(1);
    assert!(refusal.contains("plan9/mips") && refusal.contains("linux/s390x"), "{refusal}");
    assert_nothing_visible(&node);
    node.assert_clean_end();
}

/// Far more than its stated size.
#[test]
fn a_layer_that_grows_and_grows() {
    let node = builder().config("layer-limit", json!(8 << 20)).start();
    let bomb = Tape::new().file("zeros", &vec![0; 64 << 20]).finish();
    let image = integration::Image::empty(&images::scratch("bomb")).tape(&bomb);
    let name = pushed(&image, "bomb:1");
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains("layer-limit") || refusal.contains("limit"), "{refusal}");
    assert_nothing_visible(&node);
    node.assert_clean_end();
}

/// Every one of them ends in a refusal or within the image; the world outside keeps its files.
#[test]
fn layers_that_reach_outside() {
    let node = node();
    let outside = node.dir().join("outside");
    std::fs::create_dir(&outside).expect("the node's directory is ours");
    std::fs::write(outside.join("canary"), "alive").expect("it is ours");
    let there = outside.display().to_string();
    let up = format!("{}{}", "../".repeat(40), &there[1..]);
    let cases: Vec<(&str, Tape)> = vec![
        ("parents in a name", Tape::new().file(&format!("{up}/canary"), b"dead")),
        ("parents within a name", Tape::new().directory("a/").file(&format!("a/../{up}/canary"), b"dead")),
        ("an absolute name", Tape::new().file(&format!("{there}/canary"), b"dead")),
        ("through a link", Tape::new().symlink("link", &there).file("link/canary", b"dead")),
        ("through a link upwards", Tape::new().symlink("link", &up).file("link/canary", b"dead")),
        ("onto a link", Tape::new().symlink("canary", &format!("{there}/canary")).file("canary", b"dead")),
        (
            "a directory onto a link",
            Tape::new().symlink("link", &there).directory("link/").file("link/canary", b"dead"),
        ),
        ("a hard link outside", Tape::new().hard_link("hard", &format!("{up}/canary")).file("hard", b"dead")),
        ("a hard link through a link", Tape::new().symlink("l", &there).hard_link("h", "l/canary").file("h", b"dead")),
        ("a removal outside", Tape::new().file(&format!("{up}/.wh.canary"), b"")),
        ("a removal through a link", Tape::new().symlink("link", &there).file("link/.wh.canary", b"")),
        ("all of a link", Tape::new().symlink("link", &there).file("link/.wh..wh..opq", b"")),
        ("a removal of parents", Tape::new().file(".wh...", b"")),
        ("a removal of itself", Tape::new().file(".wh..", b"").file(".wh.", b"")),
        ("extended names", Tape::new().extended(&[("path", format!("{up}/canary").as_bytes())]).file("x", b"dead")),
    ];
    for (number, (what, tape)) in cases.into_iter().enumerate() {
        let layout = Layout::new(&images::scratch("outside"));
        let manifest = layout.image(&json!({}), &[tape.finish()]);
        let shelf = Faulty::serving(layout.single(manifest).layout());
        let name = shelf.name(&format!("outside-{number}:it"));
        let output = node.isula(&["pull", &name]);
        assert!(output.code() == 0 || output.code() == 1, "{what}: {}", output.stderr);
        assert!(
            output.code() == 0 || output.stderr.contains("Error response from daemon"),
            "{what}: {}",
            output.stderr
        );
        let canary = std::fs::read_to_string(outside.join("canary"));
        assert_eq!(canary.ok().as_deref(), Some("alive"), "{what}");
        assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 1, "{what}");
        if output.code() == 0 {
            node.ok(&["image", "mount", &name]);
            node.ok(&["image", "unmount", &name]);
            node.ok(&["rmi", &name]);
        }
        assert_nothing_of_images(&node);
    }
    node.assert_clean_end();
}
