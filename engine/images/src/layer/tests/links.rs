//! Links within a layer.

use std::fs;

use super::*;

#[test]
fn entries_go_through_links_within_the_layer() {
    let tar = Tar::new().dir("usr").dir("usr/bin").symlink("bin", "usr/bin").file("bin/sh", "sh");
    let tar = tar.symlink("abs", "/usr").symlink("up", "../../../usr").dir("abs/lib").file("up/lib/so", "so");
    let tar = tar.symlink("usr/self", ".").file("usr/self/self/x", "x").hard_link("bin/bash", "abs/self/bin/sh");
    let place = good(&tar.end());
    assert_eq!(read(place.path("usr/bin/sh")), "sh");
    assert_eq!(read(place.path("usr/bin/bash")), "sh");
    assert_eq!(read(place.path("usr/lib/so")), "so");
    assert_eq!(read(place.path("usr/x")), "x");
    assert!(place.path("bin").is_symlink());
}

#[test]
fn a_changed_link_keeps_files_made_through_it() {
    let tar = Tar::new().dir("one").dir("two").symlink("l", "one").file("l/f", "first");
    let tar = tar.symlink("l", "two").file("l/f", "second").dir("l").file("l/f", "third");
    let place = good(&tar.end());
    assert_eq!(read(place.path("one/f")), "first");
    assert_eq!(read(place.path("two/f")), "second");
    assert_eq!(read(place.path("l/f")), "third");
}

#[test]
fn hard_links_are_one_file() {
    let tar = Tar::new().file("a", "x").hard_link("d/b", "./a").hard_link("d/b", "a").hard_link("a", "d/b");
    let tar = tar.symlink("s", "a").hard_link("t", "s");
    let place = good(&tar.end());
    let (a, b) = (fs::metadata(place.path("a")).unwrap(), fs::metadata(place.path("d/b")).unwrap());
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    // A hard link to a symbolic link is that link, not its target.
    assert_eq!(fs::read_link(place.path("t")).unwrap().to_str(), Some("a"));
}

#[test]
fn a_hard_link_may_be_replaced_on_either_side() {
    let tar = Tar::new().file("a", "old").hard_link("b", "a").file("a", "new").hard_link("c", "b").file("b", "newer");
    let place = good(&tar.end());
    assert_eq!([read(place.path("a")), read(place.path("b")), read(place.path("c"))], ["new", "newer", "old"]);
}
