//! Pulls that go well: by every kind of name, from every kind of registry, in every format.

use std::net::TcpListener;

use integration::images::{self, BASIC, Layout, OCI_CONFIG, OCI_LAYER, Tape, descriptor};
use integration::{Fault, Faulty, Node, command, deadline, registry, tree};
use serde_json::{Value, json};

use super::{assert_nothing_of_images, builder, diff_ids, id, inspect, listed, node, noisy, pushed};

#[test]
fn by_tag_and_by_digest() {
    let node = node();
    let name = pushed(&BASIC, "by-tag:1");
    let layer = BASIC.layers()[0].0.clone();
    let output = node.isula(&["pull", &name]);
    assert_eq!(output.text(), "", "stdout is empty: {}", output.stderr);
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(lines.first(), Some(&format!("Image \"{name}\" pulling").as_str()), "{}", output.stderr);
    assert_eq!(lines.last(), Some(&format!("Image \"{name}\" pulled").as_str()), "{}", output.stderr);
    assert!(lines.contains(&format!("{}: Pull complete", &layer[7..19]).as_str()), "{}", output.stderr);
    assert_eq!(id(&node, &name), BASIC.id());
    assert_eq!(node.ok(&["pull", "-q", &name]), BASIC.id(), "again, and only its id is printed");

    let repository = registry::SHARED.name("by-tag");
    let digest = BASIC.digest();
    let by_digest = format!("{repository}@{digest}");
    assert_eq!(node.ok(&["pull", "-q", &by_digest]), BASIC.id());
    assert_eq!(inspect(&node, &name)["RepoDigests"], json!([by_digest]));
    assert_eq!(inspect(&node, &by_digest)["RepoTags"], json!([name]));
    assert_eq!(listed(&node), [format!("{name} {}", BASIC.id())], "they are one image");
    let digests = node.ok(&["images", "--digests", "--format", "{{.Digest}}"]);
    assert_eq!(digests, digest);
    // With the last tag of a repository its digests go.
    node.ok(&["rmi", &name]);
    assert_nothing_of_images(&node);
    // Without a tag at all, it takes `latest`.
    pushed(&BASIC, "by-tag:latest");
    node.ok(&["pull", &repository]);
    assert_eq!(inspect(&node, &repository)["RepoTags"], json!([format!("{repository}:latest")]));
    // By digest alone it has no tag.
    node.ok(&["rmi", &repository]);
    node.ok(&["pull", &by_digest]);
    assert_eq!(inspect(&node, &by_digest)["RepoTags"], json!([]));
    node.assert_clean_end();
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut input = tempfile::tempfile().expect("a file can be made");
    std::io::Write::write_all(&mut input, bytes).and_then(|()| std::io::Seek::rewind(&mut input)).expect("it is ours");
    let output = std::process::Command::new("zstd").arg("-c").stdin(input).output().expect("zstd runs");
    assert!(output.status.success());
    output.stdout
}

/// The same layer in every form that a registry may have it in.
#[test]
fn every_format() {
    let node = node();
    let layer = Tape::new().directory("etc/").file("etc/motd", &b"the same in every form\n".repeat(1000)).finish();
    let tape = layer.clone();
    let layout = Layout::new(&images::scratch("plain"));
    let manifest = layout.image(&json!({"config": {"Env": ["A=b"]}}), &[layer]);
    let plain = layout.single(manifest);
    let shared = &registry::SHARED;
    for (name, flags) in
        [("format:gzip", &[][..]), ("format:v2s2", &["--format=v2s2"]), ("format:oci", &["--format=oci"])]
    {
        shared.push_with(&plain.source(), name, flags);
    }
    // The registry's tool of this age makes none, but passes one on.
    let other = Layout::new(&images::scratch("zstd-layer"));
    let blob = other.blob("application/vnd.oci.image.layer.v1.tar+zstd", &zstd(&tape));
    let config = other.json(OCI_CONFIG, &plain.configuration());
    let manifest = other.manifest(&config, &[blob]);
    shared.push_with(&other.single(manifest).source(), "format:zstd", &[]);
    let types = |name: &str| shared.raw(name)["layers"][0]["mediaType"].as_str().unwrap_or_default().to_owned();
    let made = (types("format:zstd"), types("format:v2s2"));
    assert!(made.0.ends_with("+zstd") && made.1.contains("docker"), "made as meant: {made:?}");
    let shelf = Faulty::serving(plain.layout());
    let names = ["gzip", "zstd", "v2s2", "oci"].map(|tag| shared.name(&format!("format:{tag}")));
    let wanted = plain.configuration()["rootfs"]["diff_ids"].clone();
    for name in names.iter().chain([&shelf.name("format:it")]) {
        node.ok(&["pull", name]);
        assert_eq!(diff_ids(&node, name), wanted, "{name}");
        assert_eq!(id(&node, name), plain.id(), "{name}");
        let view = node.ok(&["image", "mount", name]);
        let text = std::fs::read_to_string(format!("{view}/etc/motd")).expect("the file is there");
        assert!(text.starts_with("the same in every form\n") && text.len() == 23_000);
        node.ok(&["image", "unmount", name]);
        node.ok(&["rmi", name]);
        assert_nothing_of_images(&node);
    }
    node.assert_clean_end();
}

#[test]
fn of_several_platforms() {
    let node = node();
    let layout = Layout::new(&images::scratch("platforms"));
    let image = |os: &str, architecture: &str, variant: Option<&str>| {
        let layer = Tape::new().file("platform", format!("{os}/{architecture}\n").as_bytes()).finish();
        let mut config = json!({"os": os, "architecture": architecture});
        let mut described = {
            if let Some(variant) = variant {
                config["variant"] = variant.into();
            }
            layout.image(&config, &[layer])
        };
        if let Some(variant) = variant {
            described["platform"]["variant"] = variant.into();
        }
        described
    };
    let all = [
        image("linux", "s390x", None),
        image("linux", "arm", Some("v6")),
        image("linux", "arm", Some("v7")),
        image("linux", images::architecture(), None),
        image("windows", images::architecture(), None),
    ];
    let index = layout.nested(&all);
    let index_digest = index["digest"].as_str().expect("it was described").to_owned();
    let source = layout.single(index).source();
    registry::SHARED.push_with(&source, "platforms:1", &["--all", "--preserve-digests"]);
    let name = registry::SHARED.name("platforms:1");

    let shown = |node: &Node, name: &str| {
        let view = node.ok(&["image", "mount", name]);
        let text = std::fs::read_to_string(format!("{view}/platform")).expect("the file is there");
        node.ok(&["image", "unmount", name]);
        text.trim().to_owned()
    };
    node.ok(&["pull", &name]);
    assert_eq!(shown(&node, &name), format!("linux/{}", images::architecture()));
    let by_index = format!("{}@{index_digest}", registry::SHARED.name("platforms"));
    assert_eq!(inspect(&node, &name)["RepoDigests"], json!([by_index]), "the name stands for the index");
    node.ok(&["pull", "--platform", "linux/s390x", &name]);
    assert_eq!(shown(&node, &name), "linux/s390x", "the name has moved");
    assert_eq!(node.ok(&["images", "-q"]).lines().count(), 2, "the one before has lost its name");
    node.ok(&["pull", "--platform", "linux/arm/v6", &name]);
    assert_eq!(inspect(&node, &name)["Variant"], "v6");
    let refusal = node.isula(&["pull", "--platform", "linux/riscv64", &name]).refused(1);
    assert!(refusal.contains("linux/riscv64") && refusal.contains("linux/s390x"), "{refusal}");
    let refusal = node.isula(&["pull", "--platform", "not a platform", &name]).refused(1);
    assert!(refusal.contains("not a platform"), "{refusal}");
    assert_eq!(shown(&node, &name), "linux/arm", "a refusal changes nothing");
    node.assert_clean_end();
}

#[test]
fn through_mirrors() {
    // A port without a listener.
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port is free");
    let empty = Faulty::serving(&images::scratch("nothing"));
    let mirror = Faulty::before(&registry::SHARED);
    let mirrors =
        json!([format!("http://{dead}"), format!("http://{}", empty.host()), format!("http://{}", mirror.host())]);
    let node = builder().config("registry-mirrors", mirrors).start();
    pushed(&BASIC, "library/mirrored:1");
    pushed(&BASIC, "group/mirrored:1");
    for name in ["mirrored:1", "docker.io/group/mirrored:1"] {
        node.ok(&["pull", name]);
    }
    let rows = listed(&node);
    let wanted = ["group/mirrored:1", "mirrored:1"].map(|name| format!("{name} {}", BASIC.id()));
    assert_eq!(
        {
            let mut rows = rows;
            rows.sort();
            rows
        },
        wanted,
        "names are those that were asked for"
    );
    assert!(empty.count(|seen| seen.gets_manifest() || seen.method == "HEAD") > 0, "they are tried in order");
    assert!(mirror.count(|seen| seen.gets_blob("sha256:")) > 0);
    // Mirrors are for the default registry.
    mirror.forget();
    pushed(&BASIC, "direct:1");
    node.ok(&["pull", &registry::SHARED.name("direct:1")]);
    assert_eq!(mirror.seen().len(), 0);
    node.assert_clean_end();
}

#[test]
fn missing_images_are_refused_by_name() {
    let node = node();
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port is free");
    for name in [format!("{dead}/x:1"), registry::SHARED.name("no-such-repository:1")] {
        let refusal = node.isula(&["pull", &name]).refused(1);
        assert!(refusal.contains(&name), "{refusal}");
    }
    let name = pushed(&BASIC, "there:1").replace(":1", ":2");
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains("there:2"), "{refusal}");
    for bad in ["UPPER", "a:b:c:d", "x@sha256:12", "/x", "x//y", "", "x:-", "host:port/x", "x@md5:00"] {
        let refusal = node.isula(&["pull", bad]).refused(1);
        assert!(refusal.contains(bad), "{bad}: {refusal}");
    }
    node.assert_clean_end();
}

#[test]
fn many_at_once_download_once() {
    let node = node();
    let image = noisy(1, &[300_000, 200_000, 100_000]);
    let (first, second) = (pushed(&image, "at-once:1"), pushed(&image, "at-once:2"));
    let faulty = Faulty::before(&registry::SHARED);
    let through = |name: &str| name.replace(&registry::SHARED.host(), &faulty.host());
    let layers = image.layers();
    let stalled = layers[0].0.clone();
    faulty.once(move |seen| seen.gets_blob(&stalled), Fault::Stall(1000));
    let pulls: Vec<_> = (0..10)
        .map(|number| node.spawn(&["pull", "-q", &through(if number % 2 == 0 { &first } else { &second })]))
        .collect();
    let stalled = layers[0].0.clone();
    faulty.until("a download is under way", move |seen| seen.gets_blob(&stalled) && seen.sent == 1000);
    faulty.release();
    for pull in pulls {
        let output = command::finish(pull, deadline::PATIENCE).expect("a pull ends");
        assert_eq!(output.ok(), image.id());
    }
    for (digest, size) in &layers {
        assert_eq!(faulty.count(|seen| seen.gets_blob(digest)), 1, "{digest} is downloaded once");
        // Counted after it was sent: the receiver may be ahead.
        deadline::until("all of it is counted", || faulty.sent_of(digest) == *size);
    }
    assert_eq!(listed(&node).len(), 2);
    // A third image on the same layers downloads nothing but its configuration.
    faulty.forget();
    let more = image.clone().tape(&super::noise("more", 50_000, 77));
    let name = pushed(&more, "at-once:3");
    node.ok(&["pull", &through(&name)]);
    assert_eq!(layers.iter().map(|(digest, _)| faulty.sent_of(digest)).sum::<u64>(), 0);
    assert_eq!(faulty.sent_of(&more.layers()[3].0), more.layers()[3].1);
    node.assert_clean_end();
}

#[test]
fn so_many_layers_at_a_time() {
    let node = builder().config("pull-concurrency", json!(2)).start();
    let image = noisy(2, &[100_000; 6]);
    let name = pushed(&image, "in-turn:1");
    let faulty = Faulty::before(&registry::SHARED);
    faulty.always(|seen| seen.gets_blob("sha256:"), Fault::Slow(1_000_000));
    node.ok(&["pull", &name.replace(&registry::SHARED.host(), &faulty.host())]);
    assert_eq!(faulty.peak(), 2);
    node.assert_clean_end();
}

/// A layer may be in an image more than once, and be empty.
#[test]
fn unusual_images() {
    let node = node();
    let empty = Tape::new().finish();
    let layer = Tape::new().file("a", b"a").finish();
    let removal = Tape::new().file(".wh.a", b"").finish();
    for (name, layers) in [
        ("none", &[][..]),
        ("empty", std::slice::from_ref(&empty)),
        ("twice", &[layer.clone(), removal.clone(), layer.clone(), empty.clone(), empty.clone()]),
        ("removed", &[layer.clone(), removal.clone()]),
        ("never", std::slice::from_ref(&removal)),
    ] {
        let layout = Layout::new(&images::scratch("unusual"));
        let manifest = layout.image(&json!({"created": "1970-01-01T00:00:00Z"}), layers);
        let image = layout.single(manifest);
        let shelf = Faulty::serving(image.layout());
        let name = shelf.name(&format!("unusual/{name}:it"));
        node.ok(&["pull", &name]);
        let view = node.ok(&["image", "mount", &name]);
        let dir = images::scratch("unpacked");
        image.unpack(&dir);
        let names = |root: &std::path::Path| tree::read(root).into_keys().collect::<Vec<_>>();
        assert_eq!(names(view.as_ref()), names(&dir), "{name}");
        node.ok(&["image", "unmount", &name]);
        node.ok(&["rmi", &name]);
    }
    assert_nothing_of_images(&node);
    // Sizes of layers that the registry states wrongly: they are checked.
    let layout = Layout::new(&images::scratch("sizes"));
    let mut wrong = layout.blob(OCI_LAYER, &layer);
    wrong["size"] = Value::from(layer.len() + 1);
    let text = json!({"os": "linux", "architecture": images::architecture(),
        "rootfs": {"type": "layers", "diff_ids": [descriptor(OCI_LAYER, &layer)["digest"]]}});
    let config = layout.json(images::OCI_CONFIG, &text);
    let manifest = layout.manifest(&config, &[wrong]);
    let shelf = Faulty::serving(layout.single(manifest).layout());
    let refusal = node.isula(&["pull", &shelf.name("sizes:it")]).refused(1);
    assert!(refusal.contains("size") || refusal.contains("bytes"), "{refusal}");
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}
