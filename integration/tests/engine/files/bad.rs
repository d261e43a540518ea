//! Refused copies, and effects that must not happen.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use integration::command::tool;
use integration::{Node, Runtime};

use super::{content_of, copied, cp, place, text};

#[test]
fn paths_that_cannot_be_copied() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("running");
    node.create(&["--name", "created"], &["true"]);
    let own = place(&node, "own");
    fs::write(own.join("file"), "own").unwrap();
    fs::create_dir(own.join("dir")).unwrap();
    let (file, dir) = (own.join("file"), own.join("dir"));
    let (file, dir) = (text(&file), text(&dir));
    for name in ["running", "created"] {
        let at = |path: &str| format!("{name}:{path}");
        for (from, to, why) in [
            (at("/nothing"), dir.to_owned(), "no such file or directory: `/nothing`"),
            (at("/etc/passwd/x"), dir.to_owned(), "`/etc/passwd` is not a directory"),
            (at("/etc/passwd/"), dir.to_owned(), "`/etc/passwd` is not a directory"),
            (at("/etc"), file.to_owned(), "not a directory"),
            (at("/etc/passwd"), format!("{dir}/no/such"), "No such file"),
            (at("/etc/passwd"), format!("{dir}/new/"), "no such directory"),
            (file.to_owned(), at("/no/such/dir"), "no such file or directory: `/no`"),
            (file.to_owned(), at("/new/"), "no such directory"),
            (file.to_owned(), at("/etc/passwd/"), "is not a directory"),
            (dir.to_owned(), at("/etc/passwd"), "cannot copy a directory"),
            (format!("{file}/"), at("/root"), "ot a directory"),
            (format!("{dir}/nothing"), at("/root"), "No such file"),
        ] {
            let refusal = cp(&node, &from, &to).refused(1);
            assert!(refusal.contains(why), "{from} {to}: {refusal}");
        }
        fs::create_dir_all(own.join("over/etc")).unwrap();
        fs::write(own.join("over/bin"), "").unwrap();
        let refusal = cp(&node, &format!("{}/over/bin", text(&own)), &at("/")).refused(1);
        assert!(refusal.contains("cannot replace the directory `/bin`"), "{refusal}");
        copied(&node, &format!("{}/over/etc", text(&own)), &at("/"));
        let refusal = cp(&node, &at("/etc/passwd"), &format!("{}/over/etc/", text(&own))).code();
        assert_eq!(refusal, 0);
    }
    for words in [&["cp", "a", "b"][..], &["cp", "x:/a", "y:/b"], &["cp", "x:/a"], &["cp", ":/a", "b"]] {
        assert_eq!(node.isula(words).code(), 125, "{words:?}");
    }
    for words in [&["cp", "nobody:/a", "/tmp/x"][..], &["cp", file, "nobody:/a"], &["diff", "nobody"]] {
        let refusal = node.isula(words).refused(1);
        assert_eq!(refusal, "Error response from daemon: No such container:nobody", "{words:?}");
    }
    node.assert_clean_end();
}

#[test]
fn nothing_climbs_out_of_a_container() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("running");
    node.create(&["--name", "created"], &["true"]);
    let own = place(&node, "own");
    fs::write(own.join("file"), "own").unwrap();
    let outside = place(&node, "outside");
    // Links of the container's to a path that the host has, too.
    symlink(&outside, own.join("absolute")).unwrap();
    symlink(format!("../../../../../../../..{}", text(&outside)), own.join("climbing")).unwrap();
    let tar = own.join("bad.tar");
    for name in ["running", "created"] {
        copied(&node, &format!("{}/.", text(&own)), &format!("{name}:/root"));
        for link in ["absolute", "climbing"] {
            let refusal = cp(&node, &format!("{}/file", text(&own)), &format!("{name}:/root/{link}/new")).refused(1);
            assert!(refusal.contains("no such file or directory"), "{refusal}");
            let refusal = cp(&node, &format!("{name}:/root/{link}/."), text(&own)).refused(1);
            assert!(refusal.contains("no such file or directory"), "{refusal}");
        }
        for path in ["/../../../../etc/passwd", "../../etc/passwd", "/root/../../etc/passwd"] {
            assert!(content_of(&node, &format!("{name}:{path}")).contains("guest"), "the container's own");
        }
        // An archive with a link and something beneath it.
        let script = format!(
            "cd {} && rm -rf x && mkdir x && ln -s {} x/l && tar -cf bad.tar x && rm x/l && mkdir x/l && echo > x/l/f && tar -rf bad.tar x/l/f",
            text(&own),
            text(&outside)
        );
        tool(&["sh", "-ec", &script]);
        let mut command = node.command(&["cp", "-", &format!("{name}:/root")]);
        command.stdin(fs::File::open(&tar).unwrap());
        let output = integration::command::finish(
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap(),
            integration::deadline::PATIENCE,
        );
        drop(output.unwrap());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
    node.assert_clean_end();
}

/// A process of the container's replaces a directory by a link as fast as it can, while it is copied in and out.
#[test]
fn a_directory_that_is_swapped_while_it_is_copied() {
    let node = Node::start(Runtime::Runc);
    let outside = place(&node, "outside");
    fs::write(outside.join("secret"), "S3CR3T!").unwrap();
    let script = format!(
        "mkdir -p /swap/a /swap/b; echo own > /swap/a/secret; ln -s {} /swap/l; cd /swap; echo ready; \
         while :; do mv a c; mv l a; mv a l; mv c a; done",
        text(&outside)
    );
    node.run_detached(&["--name", "c"], &["sh", "-c", &script]);
    integration::deadline::until("it has begun", || node.ok(&["logs", "c"]).contains("ready"));
    let own = place(&node, "own");
    fs::create_dir_all(own.join("a")).unwrap();
    fs::write(own.join("a/secret"), "mine").unwrap();
    for _ in 0..25 {
        let _ = cp(&node, &format!("{}/.", text(&own)), "c:/swap");
        let _ = cp(&node, &format!("{}/a/secret", text(&own)), "c:/swap/a/secret");
        let output = node.isula(&["cp", "c:/swap", "-"]);
        assert!(!output.text().contains("S3CR3T!"), "a file of the host was read");
    }
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"S3CR3T!");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    node.assert_clean_end();
}

#[test]
fn odd_files() {
    let node = Node::start(Runtime::Runc);
    let script = "mkdir /odd; cd /odd; mkfifo fifo; mknod device c 1 3; printf 'x' > \"$(printf 'bad-\\377')\"; \
                  ln -s nowhere dangling; echo ready; trap 'exit 0' TERM; sleep 1000 & wait";
    node.run_detached(&["--name", "c"], &["sh", "-c", script]);
    integration::deadline::until("they are there", || node.ok(&["logs", "c"]).contains("ready"));
    let own = place(&node, "own");
    let output = cp(&node, "c:/odd", text(&own));
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stderr.contains("device is a device, which is not copied"), "{}", output.stderr);
    assert!(fs::symlink_metadata(own.join("odd/fifo")).unwrap().file_type().is_fifo());
    assert!(!own.join("odd/device").exists());
    assert_eq!(fs::read_link(own.join("odd/dangling")).unwrap(), Path::new("nowhere"));
    let bad: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"odd/bad-\xff");
    assert_eq!(fs::read(own.join(bad)).unwrap(), b"x");
    // A FIFO is not read from, nor waited for, on either side.
    copied(&node, "c:/odd/fifo", &format!("{}/fifo", text(&own)));
    copied(&node, &format!("{}/fifo", text(&own)), "c:/tmp/fifo");
    copied(&node, &format!("{}/odd", text(&own)), "c:/tmp/back");
    // The whole of it, with /proc and /sys in it.
    let all = place(&node, "all");
    let output = cp(&node, "c:/", text(&all));
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(all.join("proc").is_dir() && fs::read_dir(all.join("proc")).unwrap().count() == 0);
    assert!(all.join("bin/busybox").is_file());
    node.assert_clean_end();
}

#[test]
fn a_full_disk_is_reported() {
    let node = Node::builder(Runtime::Runc).graph_size(64 << 20).start();
    node.create(&["--name", "c"], &["true"]);
    let file = place(&node, "own").join("large");
    fs::File::create(&file).unwrap().set_len(200 << 20).unwrap();
    let refusal = cp(&node, text(&file), "c:/tmp/large").refused(1);
    assert!(refusal.contains("no space is left for `/tmp/large`"), "{refusal}");
    assert!(cp(&node, "c:/tmp/large", "-").refused(1).contains("no such file"), "no part of it is left");
    node.assert_clean_end();
}
