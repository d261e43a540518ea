//! Needs root: owners, devices, attributes; and trees made to mislead.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::fs::beneath::open_dir;
use crate::fs::open_root;

struct Pair(tempfile::TempDir);

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/tree")).unwrap();
        fs::create_dir(dir.path().join("into")).unwrap();
        Self(dir)
    }

    fn from(&self, path: &str) -> PathBuf {
        self.0.path().join("root/tree").join(path)
    }

    fn to(&self, path: &str) -> PathBuf {
        self.0.path().join("into").join(path)
    }

    fn copy(&self, path: &str) -> Result<Option<Copied>, CopyError> {
        let (root, into) = (open_root(&self.0.path().join("root")).unwrap(), fs::File::open(self.to("")).unwrap());
        let Some(source) = open_dir(&root, Path::new(path))? else { return Ok(None) };
        copy_tree(source, Path::new(path), &into.into(), &|| false).map(Some)
    }
}

fn facts(path: &Path) -> (u32, u32, u32, i64, i64) {
    let facts = fs::symlink_metadata(path).unwrap();
    (facts.uid(), facts.gid(), facts.mode(), facts.mtime(), facts.mtime_nsec())
}

fn date(path: &Path) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 1_000_000_000, tv_nsec: 1 },
        last_modification: Timespec { tv_sec: 1_000_000_000, tv_nsec: 987_654_321 },
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn everything_of_a_tree_is_there() {
    let pair = Pair::new();
    fs::create_dir_all(pair.from("dir/deeper")).unwrap();
    fs::write(pair.from("file"), "content").unwrap();
    fs::write(pair.from("dir/program"), "#!").unwrap();
    symlink("../nowhere", pair.from("dir/link")).unwrap();
    nix::unistd::mkfifo(&pair.from("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, pair.from("null"), FileType::CharacterDevice, Mode::RUSR, device).unwrap();
    for (path, uid, mode) in
        [("dir/program", 5, 0o4755), ("dir", 6, 0o2710), ("file", 7, 0o640), ("fifo", 8, 0o602), ("null", 9, 0o666)]
    {
        std::os::unix::fs::chown(pair.from(path), Some(uid), Some(uid + 10)).unwrap();
        fs::set_permissions(pair.from(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(pair.from("dir/link"), Some(11), Some(12)).unwrap();
    std::os::unix::fs::chown(pair.from(""), Some(999), Some(998)).unwrap();
    fs::set_permissions(pair.from(""), fs::Permissions::from_mode(0o1777)).unwrap();
    let all = ["dir/deeper", "dir/program", "dir/link", "dir", "file", "fifo", "null", ""];
    all.iter().for_each(|path| date(&pair.from(path)));

    let copied = pair.copy("/tree").unwrap().unwrap();
    assert_eq!(copied, Copied { entries: 7, bytes: 9 });
    for path in all {
        assert_eq!(facts(&pair.from(path)), facts(&pair.to(path)), "{path}");
    }
    assert_eq!(fs::read_to_string(pair.to("file")).unwrap(), "content");
    assert_eq!(fs::read_link(pair.to("dir/link")).unwrap(), Path::new("../nowhere"));
    assert!(fs::metadata(pair.to("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(pair.to("null")).unwrap().rdev(), device);
}

#[test]
fn attributes_are_copied_but_not_the_overlays_own() {
    let pair = Pair::new();
    fs::write(pair.from("file"), "").unwrap();
    fs::create_dir(pair.from("dir")).unwrap();
    let set =
        |path: &str, name: &str, value: &[u8]| rustix::fs::setxattr(pair.from(path), name, value, XattrFlags::empty());
    let large = vec![b'x'; 2000];
    if set("file", "user.large", &large) == Err(Errno::OPNOTSUPP) {
        panic!("the tests' directory has no extended attributes: set TMPDIR to one that has");
    }
    set("file", "user.small", b"v").unwrap();
    set("file", "trusted.overlay.origin", b"x").unwrap();
    // cap_net_raw in the permitted set, which a change of owner would take away again.
    let capability = [0x01, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set("file", "security.capability", &capability).unwrap();
    set("dir", "trusted.overlay.opaque", b"y").unwrap();
    set("dir", "trusted.mine", b"1").unwrap();
    std::os::unix::fs::chown(pair.from("dir"), Some(5), Some(5)).unwrap();
    pair.copy("tree").unwrap().unwrap();
    let get = |path: &str, name: &str| xattr_value(|buffer| rustix::fs::getxattr(pair.to(path), name, buffer)).ok();
    assert_eq!(get("file", "user.large"), Some(large));
    assert_eq!(get("file", "user.small").as_deref(), Some(b"v".as_slice()));
    assert_eq!(get("file", "security.capability").as_deref(), Some(capability.as_slice()));
    assert_eq!(get("dir", "trusted.mine").as_deref(), Some(b"1".as_slice()));
    assert_eq!(get("file", "trusted.overlay.origin"), None);
    assert_eq!(get("dir", "trusted.overlay.opaque"), None);
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let pair = Pair::new();
    fs::create_dir_all(pair.from("a/b")).unwrap();
    fs::write(pair.from("one"), "shared").unwrap();
    fs::hard_link(pair.from("one"), pair.from("a/two")).unwrap();
    fs::hard_link(pair.from("one"), pair.from("a/b/three")).unwrap();
    // A file whose other name is outside the tree.
    fs::write(pair.0.path().join("root/outside"), "alone").unwrap();
    fs::hard_link(pair.0.path().join("root/outside"), pair.from("inside")).unwrap();
    symlink("x", pair.from("link")).unwrap();
    fs::hard_link(pair.from("link"), pair.from("a/link")).unwrap();
    pair.copy("tree").unwrap().unwrap();
    let inode = |path: &str| fs::symlink_metadata(pair.to(path)).unwrap().ino();
    assert_eq!(inode("one"), inode("a/two"));
    assert_eq!(inode("one"), inode("a/b/three"));
    assert_eq!(inode("link"), inode("a/link"));
    assert_eq!(fs::metadata(pair.to("one")).unwrap().nlink(), 3);
    assert_eq!(fs::metadata(pair.to("inside")).unwrap().nlink(), 1);
    assert_eq!(fs::read_to_string(pair.to("inside")).unwrap(), "alone");
}

#[test]
fn no_link_is_followed() {
    let pair = Pair::new();
    let secret = pair.0.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "key").unwrap();
    for (name, target) in [("dir", secret.clone()), ("file", secret.join("key")), ("up", "../../..".into())] {
        symlink(target, pair.from(name)).unwrap();
    }
    symlink(&secret, pair.0.path().join("root/out")).unwrap();
    pair.copy("tree").unwrap().unwrap();
    for name in ["dir", "file", "up"] {
        assert_eq!(fs::read_link(pair.from(name)).unwrap(), fs::read_link(pair.to(name)).unwrap());
    }
    // The tree itself, named through a link that leads out: there is no such thing inside.
    assert_eq!(pair.copy("out").unwrap(), None);
    assert_eq!(pair.copy("/none").unwrap(), None);
    assert_eq!(pair.copy("tree/file").unwrap(), None);
}

#[test]
fn holes_stay_holes() {
    let pair = Pair::new();
    let file = fs::File::create(pair.from("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 1 << 39).unwrap();
    fs::File::create(pair.from("hole")).unwrap().set_len(1 << 41).unwrap();
    pair.copy("tree").unwrap().unwrap();
    let copy = fs::File::open(pair.to("sparse")).unwrap();
    let mut middle = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&copy, &mut middle, 1 << 39).unwrap();
    assert_eq!(&middle, b"middle");
    for (name, length) in [("sparse", 1 << 40), ("hole", 1 << 41)] {
        let facts = fs::metadata(pair.to(name)).unwrap();
        assert_eq!(facts.len(), length);
        assert!(facts.blocks() < 1000, "{name}: {}", facts.blocks());
    }
}

#[test]
fn a_tree_deeper_than_any_path_needs_neither_stack_nor_descriptors() {
    const DEPTH: usize = 3000;
    let pair = Pair::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |dir: &OwnedFd, name: &str| rustix::fs::openat(dir, name, flags, Mode::empty()).unwrap();
    let mut dir: OwnedFd = fs::File::open(pair.from("")).unwrap().into();
    fs::write(pair.from("first"), "x").unwrap();
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&dir, "dd", Mode::RWXU).unwrap();
        dir = open(&dir, "dd");
    }
    let below = OFlags::CREATE | OFlags::WRONLY;
    drop(rustix::fs::openat(&dir, "leaf", below, Mode::RUSR).unwrap());
    // A second name that is deeper than a path can be is copied as a file of its own.
    rustix::fs::linkat(rustix::fs::CWD, pair.from("first"), &dir, "second", AtFlags::empty()).unwrap();
    let copied = pair.copy("tree").unwrap().unwrap();
    assert_eq!(copied.entries, DEPTH as u64 + 3);
    let mut dir: OwnedFd = fs::File::open(pair.to("")).unwrap().into();
    for _ in 0..DEPTH {
        dir = open(&dir, "dd");
    }
    assert!(rustix::fs::statat(&dir, "leaf", AtFlags::empty()).is_ok());
    assert!(rustix::fs::statat(&dir, "second", AtFlags::empty()).is_ok());
}

#[test]
fn entries_that_cannot_be_copied_are_named() {
    let pair = Pair::new();
    fs::create_dir(pair.from("dir")).unwrap();
    fs::write(pair.from("dir/file"), "").unwrap();
    fs::create_dir(pair.to("dir")).unwrap();
    let error = pair.copy("tree").unwrap_err().to_string();
    assert_eq!(error, "cannot copy `tree/dir`");
}

#[test]
fn a_copy_stops_on_request() {
    let pair = Pair::new();
    for name in ["a", "b", "c"] {
        fs::write(pair.from(name), "").unwrap();
    }
    let (root, into) = (open_root(&pair.0.path().join("root")).unwrap(), fs::File::open(pair.to("")).unwrap());
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    let source = open_dir(&root, Path::new("tree")).unwrap().unwrap();
    let error = copy_tree(source, Path::new("tree"), &into.into(), &stop).unwrap_err();
    assert!(matches!(error, CopyError::Stopped), "{error}");
    assert_eq!(fs::read_dir(pair.to("")).unwrap().count(), 2);
}
