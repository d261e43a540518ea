//! Each kind of entry becomes the right file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, UNIX_EPOCH};

use super::*;

pub(super) fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn owners_modes_and_times_are_kept() {
    let mut setuid = header(b'0', "bin/su", 3);
    setuid.set_mode(0o104_755);
    setuid.set_uid(3);
    setuid.set_gid(2_000_000);
    let mut dir = header(b'5', "bin/", 0);
    dir.set_mode(0o2_775);
    dir.set_gid(50);
    let mut link = header(b'2', "bin/link", 0);
    link.set_link_name("su").unwrap();
    link.set_uid(7);
    link.set_mtime(12);
    let bytes = Tar::new()
        .header(dir)
        .header(setuid)
        .payload(b"abc")
        .header(link)
        .pax(&[("mtime", b"1700000000.123456789"), ("uid", b"3000000000"), ("gid", b"8")])
        .file("bin/plain", "x")
        .pax(&[("mtime", b"-5.5")])
        .dir("old")
        .end();
    let place = good(&bytes);
    let su = fs::metadata(place.path("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()), (0o4755, 3, 2_000_000, 1_000_000_000));
    let bin = fs::metadata(place.path("bin")).unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.uid(), bin.gid(), bin.mtime()), (0o2775, 0, 50, 1_000_000_000));
    let link = fs::symlink_metadata(place.path("bin/link")).unwrap();
    assert_eq!((link.uid(), link.mtime()), (7, 12));
    let plain = fs::metadata(place.path("bin/plain")).unwrap();
    assert_eq!((plain.uid(), plain.gid(), plain.mtime_nsec()), (3_000_000_000, 8, 123_456_789));
    let old = fs::metadata(place.path("old")).unwrap();
    assert_eq!((old.mtime(), old.mtime_nsec()), (-6, 500_000_000));
}

#[test]
fn the_root_is_plain_unless_described() {
    let place = good(&Tar::new().file("a", "x").end());
    let root = fs::metadata(place.path("")).unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o755, 0, 0));
    for name in [".", "./", "/"] {
        let mut header = header(b'5', name, 0);
        header.set_mode(0o1700);
        header.set_uid(9);
        let place = good(&Tar::new().header(header).file("./a", "x").end());
        let root = fs::metadata(place.path("")).unwrap();
        assert_eq!((root.mode() & 0o7777, root.uid(), root.mtime()), (0o1700, 9, 1_000_000_000));
        assert_eq!(root.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    }
}

#[test]
fn missing_parents_are_made() {
    let place = good(&Tar::new().file("/a//b/./c", "x").end());
    assert_eq!(read(place.path("a/b/c")), "x");
    for name in ["a", "a/b"] {
        let meta = fs::metadata(place.path(name)).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o755, 0));
    }
}

#[test]
fn nodes_are_made() {
    let place =
        good(&Tar::new().node(b'3', "null", 1, 3).node(b'4', "disk", 259, 70_000).node(b'6', "fifo", 0, 0).end());
    let null = fs::metadata(place.path("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o644));
    let disk = fs::metadata(place.path("disk")).unwrap();
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(259, 70_000));
    assert!(fs::metadata(place.path("fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn odd_names_are_names() {
    let long = [b'l'; 255];
    let deep = [b"deep/".repeat(60), b"end".to_vec()].concat();
    let names: [&[u8]; 7] = [b"line\nfeed", b"\xff\xfe", b" ", b"a b ", b"\\", b"...", b"-rf"];
    let tar = names.iter().fold(Tar::new(), |tar, name| tar.file(name, name));
    let tar = tar.long(b'L', &long).file("x", "long").pax(&[("path", &deep)]).file("x", "deep");
    let tar = tar.long(b'L', &deep).long(b'K', &long).symlink("x", "short");
    let place = good(&tar.end());
    for name in names {
        assert_eq!(fs::read(place.path(OsStr::from_bytes(name))).unwrap(), name);
    }
    assert_eq!(read(place.path(OsStr::from_bytes(&long))), "long");
    assert_eq!(fs::read_link(place.path(OsStr::from_bytes(&deep))).unwrap().as_os_str().as_bytes(), long);
}

#[test]
fn attributes_are_kept_but_those_of_overlays() {
    // A line feed and zeros in the value, as capabilities have them.
    let capability = b"\x01\0\0\x02\x0a\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let attributes: [(&str, &[u8]); 7] = [
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.note", b"one\n14 path=other\n"),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.note", b"t"),
        ("SCHILY.xattr.security.selinux", b"label"),
    ];
    let mut owned = header(b'0', "f", 1);
    owned.set_uid(5);
    let link = [("SCHILY.xattr.user.note", &b"x"[..]), ("SCHILY.xattr.trusted.note", b"l")];
    let tar = Tar::new().pax(&attributes).header(owned).payload(b"x").pax(&attributes[1..]).dir("d");
    let place = good(&tar.pax(&link).symlink("l", "f").end());
    let file = place.path("f");
    assert_eq!(attribute(&file, "security.capability").as_deref(), Some(&capability[..]));
    for path in [file, place.path("d")] {
        assert_eq!(attribute(&path, "user.note").as_deref(), Some(&b"one\n14 path=other\n"[..]));
        assert_eq!(attribute(&path, "user.empty").as_deref(), Some(&b""[..]));
        assert_eq!(attribute(&path, "trusted.note").as_deref(), Some(&b"t"[..]));
        for name in ["trusted.overlay.opaque", "user.overlay.opaque", "security.selinux"] {
            assert_eq!(attribute(&path, name), None, "{name}");
        }
    }
    assert_eq!(attribute(&place.path("l"), "trusted.note").as_deref(), Some(&b"l"[..]));
}

#[test]
fn a_size_in_an_extended_header_is_the_size() {
    // A value with a line feed before it must not hide it.
    let records = [("SCHILY.xattr.user.a", &b"x\ny"[..]), ("size", b"600")];
    let place = good(&Tar::new().pax(&records).header(header(b'0', "a", 0)).payload(&[b'a'; 600]).file("b", "x").end());
    assert_eq!(fs::read(place.path("a")).unwrap(), [b'a'; 600]);
    assert_eq!(read(place.path("b")), "x");
}

#[test]
fn an_empty_value_in_an_extended_header_takes_back_an_earlier_one() {
    let keys = ["path", "linkpath", "size", "uid", "gid", "mtime"];
    let records: Vec<(&str, &[u8])> = keys.iter().flat_map(|key| [(*key, &b"7"[..]), (*key, b"")]).collect();
    let place = good(&Tar::new().pax(&records).file("f", "content").pax(&records).symlink("l", "f").end());
    let file = fs::metadata(place.path("f")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mtime()), (0, 0, 1_000_000_000));
    assert_eq!(read(place.path("f")), "content");
    assert_eq!(fs::read_link(place.path("l")).unwrap(), Path::new("f"));
    // Alone it takes back nothing.
    let place = good(&Tar::new().pax(&[("path", b""), ("size", b"")]).file("f", "content").end());
    assert_eq!(read(place.path("f")), "content");
}

#[test]
fn sizes_of_entries_without_content_are_ignored() {
    let mut link = header(b'2', "l", 5);
    link.set_link_name("there").unwrap();
    let mut old = header(0, "d/", 5);
    old.set_mode(0o700);
    let place = good(&Tar::new().header(link).header(header(b'5', "e", 700)).header(old).file("b", "x").end());
    assert_eq!(read(place.path("b")), "x");
    assert!(place.path("d").is_dir() && place.path("e").is_dir());
}

#[test]
fn files_may_have_holes() {
    let mut gnu = header(b'S', "gnu", 515);
    gnu.as_gnu_mut().unwrap().set_real_size(1 << 30);
    let map = &mut gnu.as_gnu_mut().unwrap().sparse;
    for (piece, (offset, length)) in map.iter_mut().zip([(512, 512), (1 << 20, 3), (1 << 30, 0)]) {
        piece.set_offset(offset);
        piece.set_length(length);
    }
    let payload = [[b'a'; 512].as_slice(), b"end"].concat();
    let one = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"one"),
        ("GNU.sparse.realsize", b"5000"),
    ];
    let mut with_map = b"2\n0\n512\n4997\n3\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend_from_slice(&payload);
    let zero = [("GNU.sparse.size", &b"5000"[..]), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.map", b"0,512,4997,3")];
    let tar = Tar::new().header(gnu).payload(&payload);
    let tar = tar.pax(&one).header(header(b'0', "GNUSparseFile.1/one", with_map.len() as u64)).payload(&with_map);
    let tar = tar.pax(&zero).header(header(b'0', "zero", 515)).payload(&payload).file("after", "x");
    let place = good(&tar.end());
    let gnu = fs::metadata(place.path("gnu")).unwrap();
    assert_eq!(gnu.len(), 1 << 30);
    assert!(gnu.blocks() < 100);
    let mut expected = vec![0; 5000];
    expected[..512].fill(b'a');
    expected[4997..].copy_from_slice(b"end");
    for name in ["one", "zero"] {
        assert!(fs::read(place.path(name)).unwrap() == expected, "{name}");
    }
    assert_eq!(read(place.path("after")), "x");
}

#[test]
fn labels_and_global_headers_are_passed_over() {
    let record = pax_record("comment", b"0123456789abcdef");
    let tar = Tar::new().header(header(b'g', "pax_global_header", record.len() as u64)).payload(&record);
    let tar = tar.header(header(b'V', "backup", 0)).file("a", "x");
    let place = good(&tar.end());
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(good(&Tar::new().end()).path("")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(good(b"").path("")).unwrap().count(), 0);
}

#[test]
fn many_entries_make_no_difference() {
    let mut tar = Tar::new();
    for dir in 0..100 {
        tar = tar.dir(format!("d{dir}"));
        for file in 0..100 {
            tar = tar.file(format!("d{dir}/f{file}"), format!("{dir} {file}"));
        }
    }
    let place = good(&tar.end());
    assert_eq!(read(place.path("d42/f17")), "42 17");
    assert_eq!(fs::read_dir(place.path("d99")).unwrap().count(), 100);
    assert_eq!(fs::metadata(place.path("d3")).unwrap().mtime(), 1_000_000_000);
}
