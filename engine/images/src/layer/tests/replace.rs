//! Layers that have something twice.

use std::fs;

use super::entries::attribute;
use super::*;

#[test]
fn the_last_of_each_pair_wins() {
    type Add = fn(Tar) -> Tar;
    let kinds: [(&str, Add); 6] = [
        ("file", |tar| tar.file("it", "content")),
        ("empty", |tar| tar.file("it", "")),
        ("link", |tar| tar.symlink("it", "target")),
        ("hard link", |tar| tar.hard_link("it", "target")),
        ("fifo", |tar| tar.node(b'6', "it", 0, 0)),
        ("tree", |tar| tar.dir("it").file("it/a", "1").dir("it/b").file("it/b/c", "2").symlink("it/b/d", "c")),
    ];
    for (first_name, first) in kinds {
        for (second_name, second) in kinds {
            let start = Tar::new().dir("target.d").file("target", "t");
            let place = good(&second(first(start)).end());
            let alone = good(&second(Tar::new().dir("target.d").file("target", "t")).end());
            assert_eq!(listing(&place.path("")), listing(&alone.path("")), "{second_name} over {first_name}");
        }
    }
}

/// Names, types, modes, and contents.
pub(super) fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let content = match meta.is_file() {
            true => format!("{:?}", fs::read(&path).unwrap()),
            false => String::new(),
        };
        let link = fs::read_link(&path).map(|link| link.display().to_string()).unwrap_or_default();
        lines.push(format!("{name} {:o} {}:{} {link} {content}", meta.mode(), meta.uid(), meta.gid()));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_directory_keeps_what_it_has_and_is_described_anew() {
    let mut again = header(b'5', "d", 0);
    again.set_mode(0o700);
    again.set_mtime(77);
    let tar =
        Tar::new().pax(&[("SCHILY.xattr.user.old", b"x")]).dir("d").file("d/a", "1").header(again).file("d/b", "2");
    let place = good(&tar.end());
    assert_eq!([read(place.path("d/a")), read(place.path("d/b"))], ["1", "2"]);
    let meta = fs::metadata(place.path("d")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o700, 77));
    assert_eq!(attribute(&place.path("d"), "user.old"), None);
}

#[test]
fn replaced_contents_come_back_in_order() {
    let mut tar = Tar::new();
    for round in 0..5 {
        tar = tar.file("a", format!("a{round}")).file("d/x/y", format!("y{round}")).file("d/z", format!("z{round}"));
        tar = if round % 2 == 0 { tar.file("d", format!("d{round}")) } else { tar.dir("d") };
        if round % 2 == 0 {
            tar = tar.dir("d");
        }
    }
    let place = good(&tar.end());
    assert_eq!(read(place.path("a")), "a4");
    assert!(fs::read_dir(place.dir().join("shadow")).unwrap().count() > 8);
}

#[test]
fn a_deep_tree_can_be_replaced() {
    let deep = b"d/".repeat(1500);
    let name = [&deep[..], b"f"].concat();
    let place = good(&Tar::new().pax(&[("path", &name)]).file("x", "deep").file("d", "flat").end());
    assert_eq!(read(place.path("d")), "flat");
}

#[test]
fn times_of_a_directory_that_is_gone_are_forgotten() {
    let tar = Tar::new().dir("d").dir("d/e").file("d", "x").file("d2", "").symlink("l", "d2").end();
    assert_eq!(read(good(&tar).path("d")), "x");
    // The directory is a link now, which is not followed to set the directory's times.
    let tar = Tar::new().dir("t").file("t/x", "").dir("d").symlink("d", "t").end();
    assert!(good(&tar).path("d").is_symlink());
}
