use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tar::Builder;

use super::*;

fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, text) in entries {
        let content = if *kind == EntryType::Regular { text.as_bytes() } else { &[] };
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_uid(1234);
        header.set_gid(1234);
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if *kind != EntryType::Regular {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A place with something outside, and a destination in it.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("into")).unwrap();
    fs::write(dir.path().join("outside"), "outside").unwrap();
    dir
}

fn unpacked(dir: &tempfile::TempDir, name: Option<&str>, bytes: &[u8]) -> Result<Vec<String>, String> {
    let destination = Destination::open(&dir.path().join("into"), name.map(OsString::from), 1).unwrap();
    unpack(bytes, destination, false).map(|unpacked| unpacked.notes).map_err(|failure| failure.to_string())
}

#[test]
fn the_top_gets_the_requested_name() {
    let dir = place();
    let bytes = tar(&[
        ("top/", EntryType::Directory, ""),
        ("top/file", EntryType::Regular, "text"),
        ("top/link", EntryType::Symlink, "/etc/passwd"),
        ("top/hard", EntryType::Link, "top/file"),
        ("top/device", EntryType::Char, ""),
    ]);
    assert_eq!(unpacked(&dir, Some("new"), &bytes).unwrap().len(), 1, "a device is left out");
    let new = dir.path().join("into/new");
    let facts = new.join("file").metadata().unwrap();
    assert_eq!((facts.permissions().mode() & 0o7777, facts.mtime(), facts.nlink()), (0o755, 1_000_000, 2));
    assert_eq!(facts.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(fs::read_link(new.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(new.metadata().unwrap().mtime(), 1_000_000);
    assert!(!new.join("device").exists());
    unpacked(&dir, None, &bytes).unwrap();
    assert!(dir.path().join("into/file").is_file());
}

#[test]
fn nothing_gets_out_of_the_destination() {
    for entries in [
        vec![("top/../../outside", EntryType::Regular, "x")],
        vec![("../outside", EntryType::Regular, "x")],
        vec![("/top/x", EntryType::Regular, "x")],
        vec![("top/l", EntryType::Symlink, ".."), ("top/l/outside", EntryType::Regular, "x")],
        vec![("top/l", EntryType::Symlink, "../outside"), ("top/l", EntryType::Regular, "x")],
        vec![("top/h", EntryType::Link, "../outside"), ("top/h", EntryType::Regular, "x")],
        vec![("top", EntryType::Symlink, ".."), ("top/outside", EntryType::Regular, "x")],
        vec![("top/d", EntryType::Symlink, ".."), ("top/d", EntryType::Directory, "")],
    ] {
        for name in [Some("new"), None] {
            let dir = place();
            let outcome = unpacked(&dir, name, &tar(&entries));
            assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"outside", "{entries:?}: {outcome:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "{entries:?}: {outcome:?}");
        }
    }
}

#[test]
fn existing_links_are_not_followed() {
    let dir = place();
    symlink("..", dir.path().join("into/link")).unwrap();
    symlink("../outside", dir.path().join("into/file")).unwrap();
    let refusal = unpacked(&dir, None, &tar(&[("top/link/outside", EntryType::Regular, "x")])).unwrap_err();
    assert!(refusal.contains("enter"), "{refusal}");
    unpacked(&dir, None, &tar(&[("top/file", EntryType::Regular, "x")])).unwrap();
    assert!(dir.path().join("into/file").symlink_metadata().unwrap().is_file(), "the link itself was replaced");
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"outside");
}

#[test]
fn a_truncated_archive_leaves_no_draft() {
    let dir = place();
    let bytes = tar(&[("top", EntryType::Regular, &"x".repeat(5000))]);
    let refusal = unpacked(&dir, Some("new"), &bytes[..2000]).unwrap_err();
    assert!(refusal.contains("write"), "{refusal}");
    assert_eq!(fs::read_dir(dir.path().join("into")).unwrap().count(), 0);
}

#[test]
fn descriptions_hold_any_bytes() {
    let mut overrides = Overrides::default();
    overrides.read(b"14 path=a\nb/c\n22 mtime=-1.250000000\n");
    assert_eq!(overrides.name.as_deref(), Some(&b"a\nb/c"[..]));
    assert_eq!(overrides.mtime, Some((-2, 750_000_000)));
    assert_eq!(time(b"5"), Some((5, 0)));
}
