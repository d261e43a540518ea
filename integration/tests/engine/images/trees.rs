//! Unpacked images compared with umoci's result, file by file.

use std::path::Path;

use integration::Node;
use integration::images::{self, BASIC, CROWD, Image, ODD, Tape};
use integration::tree::{self, Tree};

use super::{node, pushed};

/// Our view of it, and umoci's tree.
fn both(node: &Node, image: &Image, name: &str) -> (Tree, Tree) {
    let dir = images::scratch("unpacked");
    image.unpack(&dir);
    let name = pushed(image, name);
    node.ok(&["pull", &name]);
    let view = node.ok(&["image", "mount", &name]);
    assert_eq!(node.ok(&["image", "mount", &name]), view, "asked again, it is the same");
    let found = tree::read(Path::new(&view));
    let write = std::fs::write(Path::new(&view).join("new"), "x").expect_err("the view is for reading");
    assert_eq!(write.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    node.ok(&["image", "unmount", &name]);
    (found, tree::read(&dir))
}

#[test]
fn everything_that_a_filesystem_can_hold() {
    let node = node();
    let (found, wanted) = both(&node, &ODD, "odd:1");
    assert!(wanted.len() > 40);
    tree::assert_same(&found, &wanted);
    node.assert_clean_end();
}

#[test]
fn busybox_and_ten_thousand_files() {
    let node = node();
    for (image, name) in [(&BASIC, "trees-busybox:1"), (&CROWD, "crowd:1")] {
        let (found, wanted) = both(&node, image, name);
        tree::assert_same(&found, &wanted);
    }
    node.assert_clean_end();
}

/// A layer may name a file without the directories it is in: those below keep their attributes.
#[test]
fn directories_that_a_layer_does_not_name() {
    let node = node();
    let entry = images::Entry { mode: 0o1750, owner: (7, 8), ..images::Entry::new(b'5', b"a/") };
    let below = Tape::new().directory("./").entry(&entry, b"").directory("a/b/").file("a/b/old", b"old");
    let above = Tape::new().file("a/b/new", b"new").file("c/d/e", b"e");
    let image = Image::empty(&images::scratch("implicit")).tape(&below.finish()).tape(&above.finish());
    let (mut found, mut wanted) = both(&node, &image, "implicit:1");
    // Their times are not defined.
    for tree in [&mut found, &mut wanted] {
        tree.values_mut().filter(|leaf| leaf.contents.is_empty()).for_each(|leaf| leaf.mtime = (0, 0));
    }
    tree::assert_same(&found, &wanted);
    node.assert_clean_end();
}
