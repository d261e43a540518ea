use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::mount::{MsFlags, mount};

use super::*;

/// A directory to be removed, and one beside it that is not.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("own/a/b")).unwrap();
        fs::create_dir_all(dir.path().join("others")).unwrap();
        fs::write(dir.path().join("own/a/file"), "x").unwrap();
        fs::write(dir.path().join("others/data"), "theirs").unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn bind(&self, from: &str, to: &str) {
        let nothing: Option<&str> = None;
        mount(Some(&self.at(from)), &self.at(to), nothing, MsFlags::MS_BIND, nothing).unwrap();
    }

    fn assert_removed(&self) {
        assert!(!self.at("own").exists());
        assert_eq!(fs::read_to_string(self.at("others/data")).unwrap(), "theirs");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = detach(&mounted_below(self.dir.path()).unwrap_or_default());
    }
}

#[test]
fn a_tree_goes_whole_and_one_that_is_gone_is_fine() {
    let place = Place::new();
    symlink(place.at("others"), place.at("own/a/link")).unwrap();
    symlink("nowhere", place.at("own/dangling")).unwrap();
    fs::set_permissions(place.at("own/a/b"), fs::Permissions::from_mode(0o000)).unwrap();
    for _ in 0..2 {
        remove_tree(&place.at("own"), Mounts::Refuse).unwrap();
        place.assert_removed();
    }
    remove_tree(&place.at("none/below"), Mounts::Detach).unwrap();
    // A link is removed itself, not its target.
    symlink(place.at("others"), place.at("own")).unwrap();
    remove_tree(&place.at("own"), Mounts::Detach).unwrap();
    place.assert_removed();
    remove_tree(Path::new("/"), Mounts::Detach).unwrap_err();
}

#[test]
fn mounts_below_are_unmounted_and_not_entered() {
    for (from, to) in [("others", "own/a/b"), ("others", "own"), ("others/data", "own/a/file")] {
        let place = Place::new();
        for _ in 0..2 {
            place.bind(from, to);
        }
        remove_tree(&place.at("own"), Mounts::Detach).unwrap();
        place.assert_removed();
        assert_eq!(mounted_below(place.dir.path()).unwrap(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_mount_within_a_mount_is_unmounted_too() {
    let place = Place::new();
    fs::create_dir(place.at("others/deeper")).unwrap();
    fs::create_dir(place.at("more")).unwrap();
    fs::write(place.at("more/data"), "").unwrap();
    place.bind("others", "own/a/b");
    place.bind("more", "own/a/b/deeper");
    remove_tree(&place.at("own"), Mounts::Detach).unwrap();
    place.assert_removed();
    assert!(place.at("more/data").exists());
}

#[test]
fn a_mount_that_is_gone_is_not_counted() {
    let place = Place::new();
    place.bind("others", "own/a/b");
    let mounts = [place.at("own/a/b"), place.at("own/a"), place.at("own/none")];
    assert_eq!(detach(&mounts).unwrap(), 1);
    assert_eq!(detach(&mounts).unwrap(), 0);
}

#[test]
fn a_foreign_mount_is_refused_and_named() {
    let place = Place::new();
    place.bind("others", "own/a/b");
    let refused = remove_tree(&place.at("own"), Mounts::Refuse).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    assert!(refused.to_string().contains("own/a/b` is mounted there"), "{refused}");
    assert!(place.at("own/a/b/data").exists());
}

#[test]
fn a_path_with_a_link_in_it_leads_to_the_same_mounts() {
    let place = Place::new();
    place.bind("others", "own/a/b");
    symlink(place.dir.path(), place.at("link")).unwrap();
    remove_tree(&place.at("link/own"), Mounts::Detach).unwrap();
    place.assert_removed();
}

/// As a container makes it: one directory within another, far deeper than a path, a stack or the table of descriptors
/// allows.
#[test]
fn depth_costs_neither_stack_nor_descriptors() {
    let place = Place::new();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::openat(CWD, place.at("own/a/b"), flags, Mode::empty()).unwrap();
    for _ in 0..5000 {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    remove_tree(&place.at("own"), Mounts::Refuse).unwrap();
    place.assert_removed();
}
