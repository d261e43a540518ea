//! The same layers by other programs. Where those are not installed, there is nothing to compare.

use std::fs;
use std::process::Command;

use super::replace::listing;
use super::*;

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A tree with some of everything.
fn tree(root: &Path) {
    let script = "
        mkdir -p usr/bin var/tmp deep/$(printf 'n%.0s' $(seq 200))/$(printf 'm%.0s' $(seq 200))
        head -c 300000 /dev/urandom > usr/bin/program; chmod 4755 usr/bin/program; chown 12:34 usr/bin/program
        ln usr/bin/program usr/bin/other; ln -s program usr/bin/link; ln -s /usr/bin bin
        ln -s $(printf 'target/%.0s' $(seq 40)) longlink
        (cd deep/n*/m*; echo deep > file); : > empty; mkfifo fifo; mknod null c 1 3; chmod 1777 var/tmp
        truncate -s 4M holes; echo middle | dd of=holes bs=1 seek=2000000 conv=notrunc status=none
        echo 'odd' > \"$(printf 'line\\nfeed \\303\\251')\"; touch -d '2001-02-03 04:05:06.123456789' usr/bin empty
        chown -h 77:88 usr/bin/link";
    run(Command::new("sh").arg("-ec").arg(script).current_dir(root));
}

fn times(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        lines.push(format!("{} {}.{}", path.strip_prefix(root).unwrap().display(), meta.mtime(), meta.mtime_nsec()));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn archives_of_tar_are_unpacked_the_same() {
    if !has("tar") {
        return;
    }
    let original = tempfile::tempdir().unwrap();
    tree(original.path());
    run(Command::new("chmod").arg("755").arg(original.path()));
    for format in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--xattrs"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
    ] {
        let archive = original.path().with_extension("tar");
        run(Command::new("tar").args(format).arg("-cf").arg(&archive).arg("-C").arg(original.path()).arg("."));
        let place = good(&fs::read(&archive).unwrap());
        fs::remove_file(&archive).unwrap();
        assert_eq!(listing(&place.path("")), listing(original.path()), "{format:?}");
        assert_eq!(fs::metadata(place.path("usr/bin/program")).unwrap().nlink(), 2);
        if format[0].ends_with("pax") {
            assert_eq!(times(&place.path("")), times(original.path()), "{format:?}");
        }
    }
}

#[test]
fn umoci_unpacks_the_same() {
    if !has("umoci") || !has("tar") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let (tree_dir, image, bundle) = (top.path().join("tree"), top.path().join("image"), top.path().join("bundle"));
    fs::create_dir(&tree_dir).unwrap();
    tree(&tree_dir);
    let archive = top.path().join("layer.tar");
    run(Command::new("tar").args(["--format=pax", "-cf"]).arg(&archive).arg("-C").arg(&tree_dir).arg("."));
    run(Command::new("umoci").args(["init", "--layout"]).arg(&image));
    let name = format!("{}:x", image.display());
    run(Command::new("umoci").args(["new", "--image", &name]));
    run(Command::new("umoci").args(["raw", "add-layer", "--image", &name]).arg(&archive));
    run(Command::new("umoci").args(["raw", "unpack", "--image", &name]).arg(&bundle));
    let place = good(&fs::read(&archive).unwrap());
    assert_eq!(listing(&place.path("")), listing(&bundle));
    assert_eq!(times(&place.path("")), times(&bundle));
}
