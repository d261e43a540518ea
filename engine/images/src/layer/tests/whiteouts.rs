//! Whiteouts: the files that a layer hides of those below it.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use super::entries::attribute;
use super::*;

fn is_whiteout(place: &Place, name: &str) -> bool {
    let meta = fs::symlink_metadata(place.path(name)).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn is_opaque(place: &Place, name: &str) -> bool {
    attribute(&place.path(name), "trusted.overlay.opaque").as_deref() == Some(b"y")
}

#[test]
fn whiteouts_become_those_of_overlays() {
    let tar = Tar::new().file("a/.wh.gone", "").file(".wh.top", "payload").dir("b").file("b/.wh..wh..opq", "");
    let tar = tar.file(".wh..wh.aufs", "").dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "x").file("a/.wh.gone", "");
    let place = good(&tar.end());
    assert!(is_whiteout(&place, "a/gone") && is_whiteout(&place, "top"));
    assert!(is_opaque(&place, "b") && !is_opaque(&place, "a"));
    let mut names: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "top"]);
    assert_eq!(fs::read_dir(place.path("b")).unwrap().count(), 0);
    assert!(is_opaque(&good(&Tar::new().file(".wh..wh..opq", "").end()), ""));
    assert!(is_opaque(&good(&Tar::new().file("n/.wh..wh..opq", "").end()), "n"));
}

#[test]
fn a_whiteout_keeps_files_of_its_own_layer() {
    let tar = Tar::new().file("f", "x").file(".wh.f", "").dir("d").file("d/g", "y").file(".wh.d", "").symlink("l", "d");
    let place = good(&tar.file(".wh.l", "").end());
    assert_eq!([read(place.path("f")), read(place.path("d/g"))], ["x", "y"]);
    assert!(is_opaque(&place, "d"));
    assert!(place.path("l").is_symlink());
}

#[test]
fn a_file_after_a_whiteout_replaces_it() {
    let tar =
        Tar::new().file(".wh.f", "").file("f", "x").file(".wh.d", "").dir("d").file(".wh.p", "").file("p/q/r", "y");
    let place = good(&tar.file(".wh.h", "").hard_link("h", "f").end());
    assert_eq!([read(place.path("f")), read(place.path("p/q/r")), read(place.path("h"))], ["x", "y", "x"]);
    assert!(is_opaque(&place, "d") && is_opaque(&place, "p") && !is_opaque(&place, "p/q"));
    assert_eq!(fs::metadata(place.path("p")).unwrap().mode() & 0o7777, 0o755);
    // Described again, it is still opaque.
    let place = good(&Tar::new().file(".wh.d", "").dir("d").dir("d").end());
    assert!(is_opaque(&place, "d"));
}
