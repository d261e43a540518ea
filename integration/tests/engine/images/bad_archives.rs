//! Malformed archives.

use integration::command::tool;
use integration::images::{self, BASIC, Layout, OCI_CONFIG, OCI_LAYER, Tape, pack};
use serde_json::{Value, json};

use super::{assert_nothing_of_images, builder, docker_archive, node, noise, place, written};

fn manifest(tape: Tape, text: &str) -> Vec<u8> {
    tape.file("manifest.json", text.as_bytes()).finish()
}

fn entry(config: &str, layers: &[&str]) -> String {
    json!([{"Config": config, "RepoTags": ["x:1"], "Layers": layers}]).to_string()
}

#[test]
fn docker_archives() {
    let node = node();
    let layer = noise("a", 2000, 1);
    let good = docker_archive(&[(&["good:1"], json!({}), std::slice::from_ref(&layer))]);
    let config = json!({"os": "linux", "architecture": images::architecture(),
        "rootfs": {"type": "layers", "diff_ids": [images::digest(&layer)]}})
    .to_string();
    let base = || Tape::new().file("c.json", config.as_bytes()).file("l.tar", &layer);
    let twice = config.replace("[\"", &format!("[\"{}\",\"", images::digest(&layer)));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "empty"),
        ("noise", noise("x", 3000, 9)[700..2500].to_vec(), "tar"),
        ("text", b"just a text\n".repeat(100), "tar"),
        ("no manifest", base().finish(), "manifest.json"),
        ("a manifest that is no JSON", manifest(base(), "[{"), "manifest.json"),
        ("a manifest that is another thing", manifest(base(), "{\"a\": 1}"), "manifest.json"),
        ("no images", manifest(base(), "[]"), "no image"),
        ("a configuration that is not there", manifest(base(), &entry("other.json", &["l.tar"])), "other.json"),
        ("a layer that is not there", manifest(base(), &entry("c.json", &["other.tar"])), "other.tar"),
        ("a file of the host", manifest(base(), &entry("../../../../../etc/passwd", &["l.tar"])), "passwd"),
        ("a file of the host as a layer", manifest(base(), &entry("c.json", &["/etc/passwd"])), "passwd"),
        ("a link to the host", manifest(base().symlink("host", "/etc/passwd"), &entry("host", &["l.tar"])), "host"),
        ("a link to itself", manifest(base().symlink("me", "me"), &entry("me", &["l.tar"])), "me"),
        ("a directory as a layer", manifest(base().directory("d/"), &entry("c.json", &["d/"])), "d/"),
        ("more layers than diff ids", manifest(base(), &entry("c.json", &["l.tar", "l.tar"])), "layers"),
        (
            "fewer",
            manifest(Tape::new().file("c.json", twice.as_bytes()).file("l.tar", &layer), &entry("c.json", &["l.tar"])),
            "layers",
        ),
        (
            "another layer",
            manifest(
                Tape::new().file("c.json", config.as_bytes()).file("l.tar", &noise("b", 10, 3)),
                &entry("c.json", &["l.tar"]),
            ),
            "digest of its content",
        ),
        ("a bad name", manifest(base(), &entry("c.json", &["l.tar"]).replace("x:1", "UPPER CASE")), "UPPER CASE"),
        ("cut short", good[..good.len() / 2].to_vec(), "cut short"),
        ("cut short within a header", good[..600].to_vec(), "cut short"),
    ];
    for (what, archive, complaint) in cases {
        let file = written(&node, "bad.tar", &archive);
        let refusal = node.isula(&["load", "-i", &file]).refused(1);
        assert!(
            refusal.to_lowercase().contains(&complaint.to_lowercase()),
            "{what}: `{complaint}` is not in {refusal}"
        );
        assert_nothing_of_images(&node);
    }
    // Compressed and then cut short, or spoiled.
    let file = written(&node, "good.tar", &good);
    for (program, suffix) in [("gzip", "gz"), ("zstd", "zst")] {
        tool(&[program, "--keep", "--force", "--quiet", &file]);
        let whole = std::fs::read(format!("{file}.{suffix}")).expect("it was made");
        let mut spoiled = whole.clone();
        let middle = spoiled.len() / 2;
        spoiled[middle..middle + 50].fill(0x55);
        for bad in [&whole[..whole.len() / 2], &spoiled] {
            let file = written(&node, "bad.tar", bad);
            node.isula(&["load", "-i", &file]).refused(1);
            assert_nothing_of_images(&node);
        }
    }
    node.isula(&["load", "-i", "/no/such/file"]).refused(1);
    node.isula(&["load", "-i", &place(&node, "")]).refused(1);
    node.ok(&["load", "-i", &file]);
    node.assert_clean_end();
}

#[test]
fn oci_layouts() {
    let node = node();
    let layer = noise("a", 2000, 1);
    let tarred = |layout: &Layout| {
        let archive = images::scratch("layout.tar");
        pack(layout.dir(), &archive);
        archive.display().to_string()
    };
    let fresh = || {
        let layout = Layout::new(&images::scratch("bad-layout"));
        let manifest = layout.image(&json!({}), std::slice::from_ref(&layer));
        layout.index(&[(Some("example.com/x:1"), manifest.clone())]);
        (layout, manifest)
    };
    let index =
        |layout: &Layout, text: &str| std::fs::write(layout.dir().join("index.json"), text).expect("it is ours");
    type Spoil<'a> = Box<dyn Fn(&Layout, Value) + 'a>;
    let cases: Vec<(&str, Spoil<'_>, &str)> = vec![
        ("index that is no JSON", Box::new(|layout, _| index(layout, "{")), "index.json"),
        ("index that is another thing", Box::new(|layout, _| index(layout, "[]")), "index.json"),
        ("index of nothing", Box::new(|layout, _| layout.index(&[])), "image"),
        (
            "another version",
            Box::new(|layout, _| {
                std::fs::write(layout.dir().join("oci-layout"), r#"{"imageLayoutVersion":"9.0.0"}"#)
                    .expect("it is ours");
            }),
            "9.0.0",
        ),
        (
            "a digest that is a path",
            Box::new(|layout, manifest| {
                let mut manifest = manifest;
                manifest["digest"] = "sha256:../../index.json".into();
                layout.index(&[(Some("x:1"), manifest)]);
            }),
            "digest",
        ),
        (
            "a manifest that is not there",
            Box::new(|layout, manifest| {
                std::fs::remove_file(layout.blob_file(manifest["digest"].as_str().unwrap_or_default()))
                    .expect("it is there");
            }),
            "blobs/sha256/",
        ),
        (
            "a manifest that is another",
            Box::new(|layout, manifest| {
                std::fs::write(layout.blob_file(manifest["digest"].as_str().unwrap_or_default()), "{}")
                    .expect("it is there");
            }),
            "digest",
        ),
        (
            "a layer that is another",
            Box::new(|layout, _| {
                std::fs::write(layout.blob_file(&images::digest(&noise("a", 2000, 1))), noise("a", 2000, 2))
                    .expect("it is there");
            }),
            "digest",
        ),
        (
            "an index of itself",
            Box::new(|layout, manifest| {
                let mut level = layout.nested(&[manifest]);
                for _ in 0..20 {
                    level = layout.nested(&[level]);
                }
                layout.index(&[(Some("deep:1"), level)]);
            }),
            "index",
        ),
        (
            "an unknown layer",
            Box::new(|layout, _| {
                let blob = layout.blob("application/vnd.example.strange", b"strange");
                let config = layout.json(
                    OCI_CONFIG,
                    &json!({"os": "linux", "architecture": images::architecture(),
                "rootfs": {"type": "layers", "diff_ids": [images::digest(b"strange")]}}),
                );
                let manifest = layout.manifest(&config, &[blob]);
                layout.index(&[(Some("x:1"), manifest)]);
            }),
            "application/vnd.example.strange",
        ),
        (
            "a foreign layer",
            Box::new(|layout, _| {
                let config = layout.json(
                    OCI_CONFIG,
                    &json!({"os": "linux", "architecture": images::architecture(),
                "rootfs": {"type": "layers", "diff_ids": [images::digest(b"elsewhere")]}}),
                );
                let manifest = layout.manifest(&config, &[images::descriptor(OCI_LAYER, b"elsewhere")]);
                layout.index(&[(Some("x:1"), manifest)]);
            }),
            "blobs/sha256/",
        ),
    ];
    for (what, spoil, complaint) in cases {
        let (layout, manifest) = fresh();
        spoil(&layout, manifest);
        let output = node.isula(&["load", "-i", &tarred(&layout)]);
        let refusal = &output.stderr;
        assert_eq!(output.code(), 1, "{what}: {}", output.text());
        assert!(
            refusal.to_lowercase().contains(&complaint.to_lowercase()),
            "{what}: `{complaint}` is not in {refusal}"
        );
        assert_nothing_of_images(&node);
    }
    node.ok(&["load", "-i", &tarred(&fresh().0)]);
    node.assert_clean_end();
}

/// An archive that grows without end is stopped; a bad image beside a good one brings nothing.
#[test]
fn too_much_and_half_good() {
    let node = builder().config("layer-limit", json!(8 << 20)).start();
    let bomb = Tape::new().file("zeros", &vec![0; 32 << 20]).finish();
    let archive = docker_archive(&[(&["bomb:1"], json!({}), std::slice::from_ref(&bomb))]);
    let file = written(&node, "bomb.tar", &archive);
    tool(&["gzip", &file]);
    let refusal = node.isula(&["load", "-i", &format!("{file}.gz")]).refused(1);
    assert!(refusal.contains("limit"), "{refusal}");
    let refusal = node.isula(&["import", &written(&node, "bomb", &bomb)]).refused(1);
    assert!(refusal.contains("limit"), "{refusal}");
    assert_nothing_of_images(&node);

    let (first, second) = (noise("a", 1000, 1), noise("b", 1000, 2));
    let mut archive =
        docker_archive(&[(&["good:1"], json!({}), &[first]), (&["bad:1"], json!({}), std::slice::from_ref(&second))]);
    // One byte in the second image's layer.
    let at = archive.windows(64).position(|window| *window == second[1100..1164]).expect("it is in there");
    archive[at] ^= 1;
    let refusal = node.isula(&["load", "-i", &written(&node, "half.tar", &archive)]).refused(1);
    assert!(refusal.contains("digest of its content"), "{refusal}");
    // Each is there as a whole or not at all.
    node.isula(&["image", "inspect", "bad:1"]).refused(1);
    if node.isula(&["image", "inspect", "good:1"]).code() == 0 {
        node.ok(&["save", "-o", &place(&node, "saved.tar"), "good:1"]);
        node.ok(&["rmi", "good:1"]);
    }
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

/// An image of another system cannot run here, but may be kept and passed on.
#[test]
fn of_another_machine() {
    let node = node();
    let layout = Layout::new(&images::scratch("alien"));
    let manifest =
        layout.image(&json!({"architecture": "s390x", "config": {"Cmd": ["/bin/true"]}}), &[noise("a", 10, 1)]);
    let image = layout.single(manifest);
    let archive = place(&node, "alien.tar");
    image.copy(&format!("docker-archive:{archive}:alien:1"), &["--override-arch=s390x"]);
    node.ok(&["load", "-i", &archive]);
    assert_eq!(super::inspect(&node, "alien:1")["Architecture"], "s390x");
    let output = node.isula(&["run", "--rm", "alien:1"]);
    assert_ne!(output.code(), 0);
    assert_ne!(BASIC.id(), super::id(&node, "alien:1"));
    node.assert_clean_end();
}
