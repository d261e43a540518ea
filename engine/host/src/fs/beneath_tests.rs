//! Roots made to mislead.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        Self(dir)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("root").join(path)
    }

    fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }

    fn handle(&self) -> OwnedFd {
        open_root(&self.at("")).unwrap()
    }

    fn make(&self, path: &str) -> Result<OwnedFd, BeneathError> {
        make_dirs(&self.handle(), Path::new(path), 0o755, (0, 0))
    }
}

#[test]
fn missing_directories_are_made_and_existing_ones_left_alone() {
    let root = Root::new();
    fs::create_dir(root.at("var")).unwrap();
    fs::set_permissions(root.at("var"), fs::Permissions::from_mode(0o1770)).unwrap();
    std::os::unix::fs::chown(root.at("var"), Some(7), Some(8)).unwrap();
    make_dirs(&root.handle(), Path::new("/var/./lib//../lib/x/"), 0o2775, (1234, 4321)).unwrap();
    let facts = |path: &str| {
        let facts = fs::metadata(root.at(path)).unwrap();
        (facts.uid(), facts.gid(), facts.mode() & 0o7777)
    };
    assert_eq!(facts("var"), (7, 8, 0o1770));
    assert_eq!(facts("var/lib"), (1234, 4321, 0o2775));
    assert_eq!(facts("var/lib/x"), (1234, 4321, 0o2775));
    // Again, with other wishes: nothing changes.
    root.make("var/lib/x").unwrap();
    assert_eq!(facts("var/lib/x"), (1234, 4321, 0o2775));
    for top in ["/", "", ".", "/..", "../../.."] {
        let made = root.make(top).unwrap();
        let (made, top) = (rustix::fs::fstat(&made).unwrap(), fs::metadata(root.at("")).unwrap());
        assert_eq!(made.st_ino, top.ino());
    }
}

#[test]
fn links_that_lead_out_stay_within() {
    let root = Root::new();
    let outside = root.outside();
    let climbing = format!("{}{}", "../".repeat(40), outside.to_str().unwrap().trim_start_matches('/'));
    for (name, target) in [("absolute", outside.to_str().unwrap()), ("climbing", &climbing)] {
        symlink(target, root.at(name)).unwrap();
        root.make(&format!("{name}/below")).unwrap();
        // Where the container would see it.
        let inside = root.at(outside.to_str().unwrap().trim_start_matches('/'));
        assert!(inside.join("below").is_dir(), "{name}");
        fs::remove_dir_all(root.at(outside.components().nth(1).unwrap().as_os_str().to_str().unwrap())).unwrap();
    }
    // A `..` behind a link goes up from where it leads to.
    fs::create_dir_all(root.at("a/b/c")).unwrap();
    symlink("/a/b/c", root.at("link")).unwrap();
    root.make("link/../made").unwrap();
    assert!(root.at("a/b/made").is_dir());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_way_is_named() {
    let root = Root::new();
    fs::create_dir(root.at("dir")).unwrap();
    fs::write(root.at("dir/file"), "").unwrap();
    symlink("dir/file", root.at("to-file")).unwrap();
    symlink("circle", root.at("circle")).unwrap();
    nix::unistd::mkfifo(&root.at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, expected) in [
        ("dir/file", "`/dir/file` is not a directory"),
        ("dir/file/below", "`/dir/file` is not a directory"),
        ("to-file/below", "`/dir/file` is not a directory"),
        ("fifo", "`/fifo` is not a directory"),
        ("circle/below", "`circle/below` leads through more than 40 links"),
        (&"d/".repeat(MOST_DEPTH + 1), "is deeper than 256 directories"),
        (&"n".repeat(256), "cannot open `/nnn"),
    ] {
        let error = root.make(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[test]
fn directories_are_opened_inside_or_not_at_all() {
    let root = Root::new();
    fs::create_dir(root.at("dir")).unwrap();
    fs::write(root.at("file"), "").unwrap();
    symlink(root.outside(), root.at("out")).unwrap();
    symlink("/dir", root.at("in")).unwrap();
    let open = |path: &str| open_dir(&root.handle(), Path::new(path)).unwrap().is_some();
    assert!(open("/dir") && open("in") && open("/") && open(".."));
    assert!(!open("none") && !open("file") && !open("file/below") && !open("out"));
}

#[test]
fn an_old_kernel_follows_no_links_at_all() {
    let root = Root::new();
    fs::create_dir(root.at("etc")).unwrap();
    fs::write(root.at("etc/passwd"), "").unwrap();
    symlink("passwd", root.at("etc/group")).unwrap();
    symlink("etc", root.at("link")).unwrap();
    let handle = root.handle();
    let open = |path: &str| open_without_links(&handle, Path::new(path), OFlags::RDONLY | OFlags::CLOEXEC).map(drop);
    assert_eq!(open("etc/passwd"), Ok(()));
    assert_eq!(open("/etc/./passwd"), Ok(()));
    assert_eq!(open("/"), Ok(()));
    assert_eq!(open("etc/group"), Err(Errno::LOOP));
    assert_eq!(open("link/passwd"), Err(Errno::NOTDIR));
    assert_eq!(open("etc/../etc/passwd"), Err(Errno::LOOP));
    assert_eq!(open("etc/none"), Err(Errno::NOENT));
}
