use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{Timespec, Timestamps, XattrFlags};

use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["upper", "top", "bottom"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn dir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
        self.touch(name, 1);
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.touch(name, 1);
    }

    /// Sets the time of modification.
    fn touch(&self, name: &str, seconds: i64) {
        let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, self.path(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    fn whiteout(&self, name: &str) {
        let path = self.path(name);
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    fn attribute(&self, name: &str, attribute: &str, value: &str) {
        rustix::fs::setxattr(self.path(name), attribute, value.as_bytes(), XattrFlags::empty()).unwrap();
    }

    fn differs(&self, points: &[&str]) -> Vec<String> {
        let points: Vec<PathBuf> = points.iter().map(PathBuf::from).collect();
        let lowers = [self.path("top"), self.path("bottom")];
        let changes = compare(&self.path("upper"), &lowers, &points, &|| false).unwrap();
        changes.iter().map(shown).collect()
    }
}

fn shown(change: &Change) -> String {
    let letter = match change.kind {
        ChangeKind::Changed => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    format!("{letter} {}", String::from_utf8_lossy(&change.path))
}

#[test]
fn files_are_added_changed_and_deleted() {
    let place = Place::new();
    for name in ["bottom/etc", "top/etc", "upper/etc"] {
        place.dir(name);
    }
    for name in ["bottom/etc/same", "upper/etc/same", "bottom/etc/content", "top/etc/gone", "bottom/etc/mode"] {
        place.file(name, "text");
    }
    place.file("upper/etc/content", "changed");
    place.file("upper/etc/mode", "text");
    fs::set_permissions(place.path("upper/etc/mode"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    place.file("upper/etc/new", "");
    place.whiteout("upper/etc/gone");
    place.whiteout("upper/etc/never-was");
    place.dir("upper/new");
    place.file("upper/new/file", "");
    place.touch("upper/etc", 1);
    let expected = ["C /etc", "C /etc/content", "D /etc/gone", "C /etc/mode", "A /etc/new", "A /new", "A /new/file"];
    assert_eq!(place.differs(&[]), expected);
}

#[test]
fn a_file_that_was_only_copied_up_is_unchanged() {
    let place = Place::new();
    for root in ["bottom", "upper"] {
        place.dir(&format!("{root}/a/b"));
        place.file(&format!("{root}/a/b/file"), "text");
        symlink("to", place.path(&format!("{root}/a/link"))).unwrap();
        place.touch(&format!("{root}/a/link"), 1);
        place.touch(&format!("{root}/a/b"), 1);
        place.touch(&format!("{root}/a"), 1);
    }
    assert_eq!(place.differs(&[]), Vec::<String>::new());
    // Files of equal size and time still differ by an attribute, and links by their text.
    place.attribute("upper/a/b/file", "user.x", "1");
    fs::remove_file(place.path("upper/a/link")).unwrap();
    symlink("ot", place.path("upper/a/link")).unwrap();
    place.touch("upper/a/link", 1);
    place.touch("upper/a", 1);
    assert_eq!(place.differs(&[]), ["C /a", "C /a/b", "C /a/b/file", "C /a/link"]);
}

#[test]
fn layers_hide_files_below_them() {
    let place = Place::new();
    for name in ["bottom/opaque", "top/opaque", "bottom/gone", "upper/opaque", "upper/gone"] {
        place.dir(name);
    }
    place.attribute("top/opaque", "trusted.overlay.opaque", "y");
    place.file("bottom/opaque/hidden", "");
    fs::remove_dir(place.path("bottom/gone")).unwrap();
    place.file("bottom/gone", "");
    place.whiteout("top/gone");
    // Neither was there for the container: both are new.
    place.file("upper/opaque/hidden", "");
    place.file("upper/gone/file", "");
    assert_eq!(place.differs(&[]), ["A /gone", "A /gone/file", "C /opaque", "A /opaque/hidden"]);
}

#[test]
fn an_opaque_directory_has_deleted_the_files_below() {
    let place = Place::new();
    for name in ["bottom/d/sub", "top/d", "upper/d/sub"] {
        place.dir(name);
    }
    place.file("bottom/d/one", "");
    place.file("top/d/two", "");
    place.file("bottom/d/sub/deep", "");
    place.file("upper/d/one", "new");
    place.attribute("upper/d", "trusted.overlay.opaque", "y");
    let expected = ["C /d", "C /d/one", "C /d/sub", "D /d/sub/deep", "D /d/two"];
    assert_eq!(place.differs(&[]), expected);
}

#[test]
fn a_file_where_a_directory_was_and_the_other_way_round() {
    let place = Place::new();
    place.dir("bottom/was-dir");
    place.file("bottom/was-dir/in", "");
    place.file("bottom/was-file", "");
    place.file("upper/was-dir", "");
    place.dir("upper/was-file");
    place.file("upper/was-file/in", "");
    assert_eq!(place.differs(&[]), ["C /was-dir", "C /was-file", "A /was-file/in"]);
}

#[test]
fn mount_points_of_the_engine_are_left_out() {
    let place = Place::new();
    place.dir("bottom/etc");
    for name in ["upper/etc", "upper/proc", "upper/data/deep"] {
        place.dir(name);
    }
    place.file("upper/etc/hosts", "");
    place.file("upper/etc/hostname", "");
    place.touch("upper/etc", 9);
    let points = ["/etc/hosts", "/etc/hostname", "/proc", "/data/deep"];
    assert_eq!(place.differs(&points), Vec::<String>::new());
    // Not provably the engine's: something is in it, or beside it.
    place.file("upper/etc/hosts", "127.0.0.1");
    place.file("upper/data/own", "");
    assert_eq!(place.differs(&points), ["A /data", "A /data/own", "C /etc", "A /etc/hosts"]);
    assert_eq!(place.differs(&[]).len(), 7);
}

#[test]
fn a_container_that_never_ran_has_changed_nothing() {
    let place = Place::new();
    fs::remove_dir(place.path("upper")).unwrap();
    assert_eq!(place.differs(&[]), Vec::<String>::new());
}
