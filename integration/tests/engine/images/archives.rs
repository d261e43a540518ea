//! Archives: ours read by skopeo, skopeo's read by us, from one engine to another, and root filesystems taken in.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use integration::command::tool;
use integration::images::{self, BASIC, Layout, ODD, Tape, pack};
use integration::rootfs::BUSYBOX;
use integration::{Faulty, Node, command, deadline, tree};
use serde_json::json;

use super::{
    as_skopeo_reads, assert_nothing_of_images, diff_ids, docker_archive, id, inspect, listed, node, noise, place,
    pushed, written,
};

fn isula_with_input(node: &Node, words: &[&str], input: &str) -> integration::Output {
    let mut command = node.command(words);
    let file = File::open(input).expect("it is there");
    let child = command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("isula runs");
    command::finish(child, deadline::PATIENCE).expect("it ends")
}

#[test]
fn saved_by_us() {
    let node = node();
    let other = super::node();
    let archive = place(&node, "out.tar");
    for (image, name) in [(&BASIC, "saved-basic:1"), (&ODD, "saved-odd:1")] {
        let name = pushed(image, name);
        node.ok(&["pull", &name]);
        let wanted = (image.id(), diff_ids(&node, &name));
        for (format, kind) in [("docker-archive", "docker-archive"), ("oci", "oci-archive")] {
            node.ok(&["save", "--format", format, "-o", &archive, &name]);
            assert_eq!(as_skopeo_reads(&format!("{kind}:{archive}")), wanted, "{format} of {name}");
            let loaded = other.ok(&["load", "-i", &archive]);
            assert!(loaded.contains(&format!("Loaded image: {name}")), "{loaded}");
            assert!(loaded.ends_with(&format!("Load image from \"{archive}\" success")), "{loaded}");
            assert_eq!((id(&other, &name), diff_ids(&other, &name)), wanted);
            let trees = [&node, &other].map(|node| {
                let view = node.ok(&["image", "mount", &name]);
                let tree = tree::read(Path::new(&view));
                node.ok(&["image", "unmount", &name]);
                tree
            });
            tree::assert_same(&trees[1], &trees[0]);
            other.ok(&["rmi", &name]);
            assert_nothing_of_images(&other);
        }
    }
    // The archive is the same every time.
    let name = integration::registry::SHARED.name("saved-odd:1");
    let again = place(&node, "again.tar");
    for file in [&archive, &again] {
        node.ok(&["save", "-o", file, &name]);
    }
    assert!(fs::read(&archive).expect("it is there") == fs::read(&again).expect("it is there"));
    node.assert_clean_end();
    other.assert_clean_end();
}

#[test]
fn several_in_one_and_through_pipes() {
    let node = node();
    let other = super::node();
    let names = [pushed(&BASIC, "several:1"), pushed(&ODD, "several:2")];
    names.iter().for_each(|name| drop(node.ok(&["pull", name])));
    node.ok(&["tag", &names[0], "with-two-names:1"]);
    let archive = place(&node, "out.tar");
    let file = File::create(&archive).expect("the node's directory is ours");
    let child = node.command(&["save", &names[0], &names[1], "with-two-names:1"]).stdout(file).spawn();
    assert_eq!(command::finish(child.expect("isula runs"), deadline::PATIENCE).expect("it ends").code(), 0);
    let output = isula_with_input(&other, &["load"], &archive);
    assert_eq!(output.text().lines().filter(|line| line.starts_with("Loaded image: ")).count(), 3, "{output:?}");
    assert_eq!(output.code(), 0);
    let mut wanted = vec![
        format!("{} {}", names[0], BASIC.id()),
        format!("{} {}", names[1], ODD.id()),
        format!("with-two-names:1 {}", BASIC.id()),
    ];
    wanted.sort();
    let mut found = listed(&other);
    found.sort();
    assert_eq!(found, wanted);
    // A name cannot be for two.
    let refusal = other.isula(&["load", "--tag", "one:1", "-i", &archive]).refused(1);
    assert!(refusal.contains("one"), "{refusal}");
    // A file that is in the way keeps its contents when the save fails.
    fs::write(&archive, "precious").expect("it is ours");
    node.isula(&["save", "-o", &archive, "no-such-image"]).refused(1);
    assert_eq!(fs::read_to_string(&archive).expect("it is there"), "precious");
    assert_eq!(
        fs::read_dir(node.dir())
            .expect("it is there")
            .flatten()
            .filter(|it| it.file_name().to_string_lossy().contains("out.tar"))
            .count(),
        1
    );
    node.assert_clean_end();
    other.assert_clean_end();
}

#[test]
fn made_by_skopeo() {
    let node = node();
    let (docker, oci) = (place(&node, "docker.tar"), place(&node, "oci.tar"));
    BASIC.copy(&format!("docker-archive:{docker}:example.com/made/by-skopeo:1"), &["--additional-tag=second:2"]);
    BASIC.copy(&format!("oci-archive:{oci}:example.com/made/oci:1"), &[]);
    let compressed = |file: &str, program: &str, suffix: &str| {
        tool(&[program, "--keep", "--quiet", file]);
        format!("{file}.{suffix}")
    };
    let all = [
        (docker.clone(), vec!["example.com/made/by-skopeo:1", "second:2"]),
        (oci.clone(), vec!["example.com/made/oci:1"]),
        (compressed(&docker, "gzip", "gz"), vec!["example.com/made/by-skopeo:1", "second:2"]),
        (compressed(&oci, "zstd", "zst"), vec!["example.com/made/oci:1"]),
    ];
    for (file, names) in &all {
        node.ok(&["load", "-i", file]);
        for name in names {
            assert_eq!(id(&node, name), BASIC.id(), "{file}");
        }
        assert_eq!(listed(&node).len(), names.len());
        // Once more changes nothing.
        let before = listed(&node);
        node.ok(&["load", "-i", file]);
        assert_eq!(listed(&node), before);
        node.ok(&["load", "--tag", "mine:3", "-i", file]);
        assert_eq!(id(&node, "mine:3"), BASIC.id());
        node.remove_images();
        assert_nothing_of_images(&node);
    }
    // `-q` prints only the loaded names.
    let printed = node.ok(&["load", "-q", "-i", &docker]);
    assert!(printed.contains("second:2"), "{printed}");
    node.assert_clean_end();
}

/// Unsupported formats are named, with the way out; the format follows from the content, not the name.
#[test]
fn compressed_otherwise() {
    let node = node();
    let (docker, tree) = (place(&node, "docker.tar"), place(&node, "tree.tar"));
    BASIC.copy(&format!("docker-archive:{docker}:by-skopeo:1"), &[]);
    fs::write(&tree, Tape::new().file("BZh91AY", b"a tar may begin so").finish())
        .expect("the node's directory is ours");
    for (program, suffix) in [("xz", "xz"), ("bzip2", "bz2")] {
        for file in [&docker, &tree] {
            tool(&[program, "--keep", "--quiet", file]);
        }
        let refused = |words: &[&str], way: &str| {
            let output = node.isula(words);
            assert_ne!(output.code(), 0);
            let wanted = format!("is compressed with {program}, which is not supported; gzip and zstd are");
            assert!(output.stderr.contains(&wanted) && output.stderr.contains(way), "{}", output.stderr);
        };
        refused(&["load", "-i", &format!("{docker}.{suffix}")], &format!("{program} -dc ARCHIVE | isula load"));
        refused(&["import", &format!("{tree}.{suffix}"), "tree:1"], &format!("{program} -dc"));
        assert_nothing_of_images(&node);
    }
    node.ok(&["import", &tree, "tree:1"]);
    node.assert_clean_end();
}

/// Old tools and registries called a config by vague names, and their images are still there.
#[test]
fn of_an_age_before_types() {
    let node = node();
    for (number, media_type) in ["application/octet-stream", "application/json", "text/html", ""].iter().enumerate() {
        let layout = Layout::new(&images::scratch("old-types"));
        let layer = Tape::new().file("motd", format!("of {media_type}\n").as_bytes()).finish();
        let config = json!({"os": "linux", "architecture": images::architecture(),
            "rootfs": {"type": "layers", "diff_ids": [images::digest(&layer)]}});
        let config = layout.json(media_type, &config);
        let layer = layout.blob(images::OCI_LAYER, &layer);
        let name = format!("old:{number}");
        let manifest = layout.manifest(&config, &[layer]);
        layout.index(&[(Some(&format!("docker.io/library/{name}")), manifest.clone())]);
        let archive = place(&node, &format!("old-{number}.tar"));
        tool(&["tar", "-C", layout.dir().to_str().expect("UTF-8"), "-cf", &archive, "."]);
        node.ok(&["load", "-i", &archive]);
        assert_eq!(id(&node, &name), config["digest"], "{media_type}");
        // Archives saved here can be loaded here.
        node.ok(&["save", "--format", "oci", "-o", &archive, &name]);
        node.ok(&["rmi", &name]);
        node.ok(&["load", "-i", &archive]);
        assert_eq!(id(&node, &name), config["digest"], "{media_type}");
        node.ok(&["rmi", &name]);
        let image = layout.single(manifest);
        let pulled = Faulty::serving(image.layout());
        let name = pulled.name("old:it");
        node.ok(&["pull", &name]);
        assert_eq!(id(&node, &name), config["digest"], "{media_type}");
        node.ok(&["rmi", &name]);
    }
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

/// The form that `docker save` writes: layers that are links to others, a `repositories` file, names that are null.
#[test]
fn made_by_hand() {
    let node = node();
    let layers = [noise("a", 1000, 1), noise("b", 1000, 2)];
    let config = json!({"config": {"Labels": {"made": "by hand"}}});
    let archive = docker_archive(&[
        (&["first:1", "localhost:5000/first:x"], config.clone(), &layers[..1]),
        (&["both"], config.clone(), &layers),
        (&[], json!({}), &layers[1..]),
    ]);
    let file = written(&node, "hand.tar", &archive);
    node.ok(&["load", "-i", &file]);
    let rows = listed(&node);
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("both:latest ")), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("<none>:<none> ")), "{rows:?}");
    assert_eq!(inspect(&node, "first:1")["Config"]["Labels"], json!({"made": "by hand"}));

    // The second layer's file is a link to the first's, as older tools write it.
    let layer = &layers[0];
    let diff_id = images::digest(layer);
    let config = json!({"os": "linux", "architecture": images::architecture(), "rootfs": {"type": "layers",
        "diff_ids": [diff_id, diff_id]}});
    let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": ["one/layer.tar", "two/layer.tar"]}]);
    let tape = Tape::new().directory("one/").file("one/layer.tar", layer).directory("two/");
    let tape = tape.symlink("two/layer.tar", "../one/layer.tar").file("config.json", config.to_string().as_bytes());
    let tape = tape.file("repositories", b"{}").file("manifest.json", manifest.to_string().as_bytes());
    let file = written(&node, "links.tar", &tape.finish());
    node.ok(&["load", "--tag", "linked:1", "-i", &file]);
    assert_eq!(diff_ids(&node, "linked:1"), json!([diff_id, diff_id]));
    node.assert_clean_end();
}

#[test]
fn a_root_filesystem_taken_in() {
    let node = node();
    let archive = place(&node, "rootfs.tar");
    pack(&BUSYBOX, Path::new(&archive));
    tool(&["gzip", "--keep", &archive]);
    let gz = format!("{archive}.gz");
    let printed = node.ok(&["import", &archive, "plain:1"]);
    assert!(printed.starts_with("sha256:") && printed.len() == 71, "{printed}");
    assert_eq!(id(&node, "plain:1"), printed);
    assert_eq!(node.ok(&["run", "--rm", "plain:1", "/bin/echo", "hello"]), "hello");

    let changes = [
        "ENV GREETING=hi WHO=\"all of you\"",
        "WORKDIR /tmp",
        "USER guest",
        "CMD [\"sh\", \"-c\", \"echo $GREETING $WHO; pwd; id -un\"]",
        "LABEL a=b",
        "EXPOSE 80/tcp",
        "STOPSIGNAL SIGUSR1",
        "VOLUME /data",
        "ENV PATH=/bin",
    ];
    let flags: Vec<&str> = changes.iter().flat_map(|change| ["--change", change]).collect();
    let words = [&["import", "-m", "taken in"], flags.as_slice(), &[&gz, "changed:1"]].concat();
    node.ok(&words);
    assert_eq!(node.ok(&["run", "--rm", "changed:1"]), "hi all of you\n/tmp\nguest");
    let facts = inspect(&node, "changed:1");
    assert_eq!(facts["Config"]["Labels"], json!({"a": "b"}));
    assert_eq!(facts["Config"]["StopSignal"], "SIGUSR1");
    assert_eq!(facts["Config"]["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(facts["Config"]["Volumes"], json!({"/data": {}}));
    assert_eq!(facts["RootFS"]["Layers"], diff_ids(&node, "plain:1"), "the same layer, whatever it came in");
    let history = node.ok(&["history", "--no-trunc", "changed:1"]);
    assert!(history.contains("taken in"), "{history}");

    let piped = isula_with_input(&node, &["import", "-", "piped:1"], &gz).ok();
    assert_eq!(id(&node, "piped:1"), piped);
    let nameless = node.ok(&["import", "--platform", "linux/arm/v7", &archive]);
    assert_eq!(inspect(&node, &nameless)["Architecture"], "arm");
    for (words, complaint) in [
        (&["import", "--change", "RUN rm -rf /", &archive][..], "RUN"),
        (&["import", "--change", "CMD [\"unfinished", &archive], "CMD"),
        (&["import", &archive, "UPPER:1"], "UPPER"),
        (&["import", "/no/such/file.tar"], "/no/such/file.tar"),
        (&["import", "/etc/passwd"], "tar"),
    ] {
        let output = node.isula(words);
        assert!(output.code() != 0 && output.stderr.contains(complaint), "{words:?}: {}", output.stderr);
    }
    node.assert_clean_end();
}

/// A pull, a load and a save of the same at once.
#[test]
fn loads_at_once() {
    let node = node();
    let archive = place(&node, "odd.tar");
    ODD.copy(&format!("docker-archive:{archive}:at-once:1"), &[]);
    let loads: Vec<_> = (0..6).map(|_| node.spawn(&["load", "-i", &archive])).collect();
    for load in loads {
        command::finish(load, deadline::PATIENCE).expect("it ends").ok();
    }
    assert_eq!(listed(&node), [format!("at-once:1 {}", ODD.id())]);
    // Saved by several, while it is removed: each archive is whole or was refused.
    let saves: Vec<_> =
        (0..4).map(|number| node.spawn(&["save", "-o", &place(&node, &format!("s{number}")), "at-once:1"])).collect();
    let _ = node.isula(&["rmi", "at-once:1"]);
    for (number, save) in saves.into_iter().enumerate() {
        let output = command::finish(save, deadline::PATIENCE).expect("it ends");
        let file = place(&node, &format!("s{number}"));
        if output.code() == 0 {
            assert_eq!(as_skopeo_reads(&format!("docker-archive:{file}")).0, ODD.id());
        } else {
            assert!(!Path::new(&file).exists(), "{}", output.stderr);
        }
    }
    node.assert_clean_end();
}

/// The client dies while it sends.
#[test]
fn a_load_that_is_broken_off() {
    let node = node();
    let archive = docker_archive(&[(&["half:1"], json!({}), &[noise("a", 3 << 20, 5)])]);
    let mut child = node
        .command(&["load"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("isula runs");
    let mut input = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut input, &archive[..1 << 20]).expect("it reads");
    child.kill().expect("it runs");
    drop(input);
    let mut printed = String::new();
    let _ = child.stderr.take().expect("it is piped").read_to_string(&mut printed);
    let _ = child.wait();
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}
