//! Packing and unpacking together, and against archives and processes that mean no good.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tar::{Builder, EntryType, Header};

use super::pack::Callbacks;
use super::view::{Found, View};
use super::*;
use crate::rootfs::open_root;

const OUTSIDE: &str = "S3CR3T!";

struct Tree {
    outer: tempfile::TempDir,
}

impl Tree {
    /// A root with a directory beside it, which nothing must reach.
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        fs::create_dir(outer.path().join("outside")).unwrap();
        fs::write(outer.path().join("outside/secret"), OUTSIDE).unwrap();
        Self { outer }
    }

    fn root(&self) -> PathBuf {
        self.outer.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.outer.path().join("outside")
    }

    fn view(&self) -> View {
        View::new(open_root(&self.root()).unwrap(), false)
    }

    fn pack(&self, path: &str, base: &str) -> Result<(Vec<u8>, Vec<String>), String> {
        let view = self.view();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let found = view.find(OsStr::new(path), false).map_err(|error| error.to_string())?;
        let callbacks = Callbacks { stop: &|| false, note: &mut |note| notes.push(note) };
        pack::pack(&view, found, base.as_bytes(), &mut out, callbacks).map_err(|error| error.to_string())?;
        Ok((out, notes))
    }

    fn unpack(&self, path: &str, tar: &[u8], options: UnpackOptions) -> Result<(), String> {
        let view = self.view();
        let Found::Directory { above } = view.find(OsStr::new(path), true).unwrap() else { panic!("{path}") };
        unpack::unpack(&view, above, tar, options, &|| false).map_err(|error| crate::cause::chain(&error))
    }
}

const STRICT: UnpackOptions = UnpackOptions { keep_owners: false, strict: true };

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(1234);
    header.set_gid(5678);
    header.set_mtime(1_000_000);
    header.set_size(size);
    header
}

/// Entries of a name, a kind, and content or a link's target. Names are taken as they are.
fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, text) in entries {
        let content = if *kind == EntryType::Regular { text.as_bytes() } else { &[] };
        let mut header = header(*kind, content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if *kind != EntryType::Regular {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (from, to) = (Tree::new(), Tree::new());
    let top = from.root().join("top");
    fs::create_dir_all(top.join("deep")).unwrap();
    fs::write(top.join("file"), vec![7; 300_000]).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join("line\nfeed"), "x").unwrap();
    fs::write(top.join(OsStr::new("long".repeat(50).as_str())), "long").unwrap();
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"not-\xff-text");
    fs::write(top.join(Path::new::<OsStr>(odd)), "odd").unwrap();
    fs::hard_link(top.join("file"), top.join("second")).unwrap();
    symlink("/etc/passwd", top.join("link")).unwrap();
    symlink("x".repeat(150), top.join("long-link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, top.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    std::os::unix::fs::lchown(top.join("file"), Some(3_000_000_000), Some(7)).unwrap();
    fs::set_permissions(top.join("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    rustix::fs::setxattr(top.join("file"), "user.x", b"a\nb", rustix::fs::XattrFlags::empty()).unwrap();
    let (bytes, notes) = from.pack("/top", "renamed").unwrap();
    assert_eq!(notes.len(), 1, "a socket is left out: {notes:?}");
    to.unpack("/", &bytes, UnpackOptions { keep_owners: true, strict: true }).unwrap();
    let made = to.root().join("renamed");
    for name in ["file", "empty", "line\nfeed", "deep", "fifo"] {
        let (old, new) = (top.join(name).symlink_metadata().unwrap(), made.join(name).symlink_metadata().unwrap());
        let facts = |of: &fs::Metadata| (of.mode(), of.uid(), of.gid(), of.mtime(), of.mtime_nsec());
        assert_eq!(facts(&old), facts(&new), "{name}");
    }
    assert_eq!(fs::read(made.join("file")).unwrap(), vec![7; 300_000]);
    assert_eq!(fs::read(made.join(Path::new::<OsStr>(odd))).unwrap(), b"odd");
    assert_eq!(fs::read(made.join("long".repeat(50))).unwrap(), b"long");
    assert_eq!(made.join("file").metadata().unwrap().ino(), made.join("second").metadata().unwrap().ino());
    assert_eq!(fs::read_link(made.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_link(made.join("long-link")).unwrap().as_os_str().len(), 150);
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(made.join("file"), "user.x", &mut value).unwrap(), 3);
    assert!(made.join("fifo").metadata().unwrap().file_type().is_fifo() && !made.join("socket").exists());
}

#[test]
fn without_archive_everything_is_roots_and_modes_stay() {
    let tree = Tree::new();
    let entries =
        [("d/", EntryType::Directory, ""), ("d/f", EntryType::Regular, "x"), ("d/l", EntryType::Symlink, "f")];
    tree.unpack("/", &tar(&entries), STRICT).unwrap();
    for name in ["d", "d/f", "d/l"] {
        let facts = tree.root().join(name).symlink_metadata().unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mtime()), (0, 0, 1_000_000), "{name}");
    }
    assert_eq!(tree.root().join("d/f").metadata().unwrap().mode() & 0o7777, 0o4755);
}

#[test]
fn no_archive_climbs_out() {
    let tree = Tree::new();
    symlink("../outside", tree.root().join("out")).unwrap();
    symlink("/", tree.root().join("slash")).unwrap();
    let secret = tree.outside();
    let absolute = secret.to_str().unwrap();
    for entries in [
        vec![("../outside/new", EntryType::Regular, "x")],
        vec![("a/../../outside/new", EntryType::Regular, "x")],
        vec![("out/secret", EntryType::Regular, "x")],
        vec![("l", EntryType::Symlink, absolute), ("l/secret", EntryType::Regular, "x")],
        vec![("l", EntryType::Symlink, "../outside/secret"), ("l", EntryType::Regular, "x")],
        vec![("h", EntryType::Link, "../outside/secret"), ("h", EntryType::Regular, "x")],
        vec![("h", EntryType::Link, "out/secret")],
        vec![("w", EntryType::Char, "")],
    ] {
        let outcome = tree.unpack("/", &tar(&entries), UnpackOptions::default());
        assert_eq!(fs::read(secret.join("secret")).unwrap(), OUTSIDE.as_bytes(), "{entries:?}: {outcome:?}");
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 1, "{entries:?}: {outcome:?}");
    }
    // Absolute names are taken from the directory.
    tree.unpack("/", &tar(&[("/etc/x", EntryType::Regular, "x")]), STRICT).unwrap();
    assert!(tree.root().join("etc/x").exists());
    for (bytes, why) in [
        (tar(&[("../x", EntryType::Regular, "")]), "`..`"),
        (tar(&[("h", EntryType::Link, "nothing")]), "is not there"),
        (tar(&[("", EntryType::Regular, "")]), ""),
        (b"not a tar at all, by far".repeat(100), "is no tar archive"),
        (tar(&[("f", EntryType::Regular, "x")])[..700].to_vec(), "ends too early"),
    ] {
        let refusal = tree.unpack("/", &bytes, STRICT).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn files_in_the_way_are_replaced_or_refused() {
    let tree = Tree::new();
    let root = tree.root();
    fs::create_dir_all(root.join("dir/full")).unwrap();
    fs::write(root.join("file"), "old").unwrap();
    symlink("file", root.join("link")).unwrap();
    symlink("dir", root.join("dir-link")).unwrap();
    let file = |name: &'static str| tar(&[(name, EntryType::Regular, "new")]);
    let dir = |name: &'static str| tar(&[(name, EntryType::Directory, "")]);
    assert!(tree.unpack("/", &file("dir"), STRICT).unwrap_err().contains("cannot replace the directory `/dir`"));
    assert!(tree.unpack("/", &dir("file"), STRICT).unwrap_err().contains("cannot replace `/file`"));
    assert!(
        tree.unpack("/", &file("dir"), UnpackOptions::default()).unwrap_err().contains("cannot replace the directory")
    );
    // A link is replaced, its target stays; a link to a directory counts as the directory.
    tree.unpack("/", &file("link"), STRICT).unwrap();
    assert!(root.join("link").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(root.join("file")).unwrap(), b"old");
    tree.unpack("/", &tar(&[("dir-link/", EntryType::Directory, ""), ("dir-link/x", EntryType::Regular, "")]), STRICT)
        .unwrap();
    assert!(root.join("dir/x").exists() && root.join("dir-link").is_symlink());
    tree.unpack("/", &file("file"), STRICT).unwrap();
    assert_eq!(fs::read(root.join("file")).unwrap(), b"new");
    // Not strict: an empty directory gives way.
    tree.unpack("/dir", &file("full"), UnpackOptions::default()).unwrap();
    tree.unpack("/", &dir("file"), UnpackOptions::default()).unwrap();
    assert!(root.join("dir/full").is_file() && root.join("file").is_dir());
    let names = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with(".isula-cp")), "no draft is left");
}

#[test]
fn a_read_only_tree_is_not_written() {
    let tree = Tree::new();
    let view = View::new(open_root(&tree.root()).unwrap(), true);
    let bytes = tar(&[("a/b", EntryType::Regular, "x")]);
    let refused = unpack::unpack(&view, vec![view.root()], &bytes[..], STRICT, &|| false);
    assert!(matches!(refused, Err(FilesError::ReadOnly { .. })));
    assert_eq!(fs::read_dir(tree.root()).unwrap().count(), 0);
}

#[test]
fn the_kernels_own_files_are_read_but_not_walked_by_chance() {
    let view = View::new(open_root(Path::new("/")).unwrap(), false);
    let found = view.find(OsStr::new("/proc/version"), false).unwrap();
    let mut out = Vec::new();
    pack::pack(&view, found, b"version", &mut out, Callbacks { stop: &|| false, note: &mut |_| {} }).unwrap();
    assert!(String::from_utf8_lossy(&out).contains("Linux version"));
    let found = view.find(OsStr::new("/proc/sys/kernel/random"), false).unwrap();
    out.clear();
    pack::pack(&view, found, b"random", &mut out, Callbacks { stop: &|| false, note: &mut |_| {} }).unwrap();
    assert!(String::from_utf8_lossy(&out).contains("random/boot_id"));
}

/// Files of the kernel report 4096 of a few bytes, 0 of many, and of some more than there ever will be.
#[test]
fn sizes_of_kernel_files_are_not_trusted() {
    let view = View::new(open_root(Path::new("/")).unwrap(), false);
    for (path, name) in [("/sys/kernel/mm/transparent_hugepage/enabled", "enabled"), ("/proc/self/status", "status")] {
        let Ok(wanted) = fs::read(path) else { continue };
        let found = view.find(OsStr::new(path), true).unwrap();
        let mut out = Vec::new();
        pack::pack(&view, found, name.as_bytes(), &mut out, Callbacks { stop: &|| false, note: &mut |_| {} }).unwrap();
        let mut archive = tar::Archive::new(&out[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        assert!(!content.contains(&0), "{path} is padded");
        assert!(content.len().abs_diff(wanted.len()) < 200, "{path}: {} of {}", content.len(), wanted.len());
    }
}

/// A process that has the tree replaces a directory by a link to the outside, and back, as fast as it can.
#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let tree = Tree::new();
    let root = tree.root();
    for name in ["swap", "aside"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("secret"), "own").unwrap();
    }
    symlink(tree.outside(), root.join("link")).unwrap();
    let over = AtomicBool::new(false);
    /// Also when the test fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |one: &str, other: &str| {
                let (one, other) = (root.join(one), root.join(other));
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags).unwrap();
            };
            while !over.load(Ordering::Relaxed) {
                exchange("swap", "link");
            }
        });
        let bytes = tar(&[("swap/new", EntryType::Regular, "x"), ("swap/secret", EntryType::Regular, "x")]);
        let _over = Over(&over);
        for round in 0..300 {
            if let Ok((packed, _)) = tree.pack("/", ".") {
                // The file's content counts, not its name.
                let content = packed.windows(7).any(|window| window == OUTSIDE.as_bytes());
                assert!(!content, "round {round}: the file outside was read");
            }
            let _ = tree.unpack("/", &bytes, UnpackOptions::default());
            assert_eq!(fs::read(tree.outside().join("secret")).unwrap(), OUTSIDE.as_bytes());
        }
    });
    assert_eq!(fs::read_dir(tree.outside()).unwrap().count(), 1);
}
