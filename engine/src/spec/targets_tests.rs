//! Roots with other files in the places that a runtime touches. Nothing is run in them: the refusal is tested.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::mounts;
use super::super::tests::{bind, tmpfs};
use super::*;
use crate::cause::chain;
use crate::definition::Mount;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root/etc", "root/run", "host/dir"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("host/file"), "").unwrap();
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join("root").join(name.trim_start_matches('/'))
    }

    fn host(&self, name: &str) -> String {
        self.0.path().join("host").join(name).display().to_string()
    }

    fn link(&self, target: &str, name: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        symlink(target, self.at(name)).unwrap();
    }

    fn file(&self, name: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), "").unwrap();
    }

    /// The targets in the order in which they are mounted, without the engine's own directories.
    fn settle(&self, mounts: Vec<Mount>) -> Result<Vec<String>, String> {
        let mut definition = super::super::tests::definition();
        definition.mounts = mounts;
        let (list, root) = mounts::of_user(&definition, &self.at("")).map_err(|error| chain(&error))?;
        check(&root, &mut [], false, true).map_err(|error| chain(&error))?;
        Ok(list.into_iter().map(|mount| mount.destination.into_owned()).filter(|target| !is_ours(target)).collect())
    }
}

#[test]
fn places_that_runtimes_set_up_have_to_be_plain() {
    for path in DIRECTORIES {
        let root = Root::new();
        assert!(root.settle(vec![]).is_ok(), "nothing is there, so the runtime makes it");
        fs::create_dir_all(root.at(path)).unwrap();
        assert!(root.settle(vec![]).is_ok(), "{path}");

        for target in ["/run", "/none", "run"] {
            let root = Root::new();
            root.link(target, path);
            let refused = root.settle(vec![]).unwrap_err();
            assert!(
                refused.starts_with(&format!("`{path}` of the container's root is a link where a directory is needed")),
                "{refused}"
            );
        }
        let root = Root::new();
        root.file(path);
        let refused = root.settle(vec![]).unwrap_err();
        assert!(refused.starts_with(&format!("`{path}` of the container's root is a file")), "{refused}");
    }
    // Above it, too.
    let root = Root::new();
    root.link("/run", "/sys/fs");
    assert!(root.settle(vec![]).unwrap_err().starts_with("`/sys/fs` of the container's root is a link"));
    let root = Root::new();
    root.file("/sys/fs");
    assert_eq!(
        root.settle(vec![]).unwrap_err(),
        "cannot use `/sys/fs/cgroup` of the container's root: `/sys/fs` is not a directory"
    );
}

#[test]
fn links_below_mounted_directories_are_covered() {
    let root = Root::new();
    for (target, path) in
        [("/run/shm", "/dev/shm"), ("/proc/self/fd", "/dev/fd"), ("/run/log", "/dev/log"), ("pts/ptmx", "/dev/ptmx")]
    {
        root.link(target, path);
    }
    for path in ["/dev/null", "/dev/console", "/proc/cpuinfo"] {
        root.file(path);
    }
    root.settle(vec![]).unwrap();
}

#[test]
fn a_dev_mounted_by_the_user_is_checked_instead() {
    let root = Root::new();
    let dev = || vec![bind(&root.host("dir"), "/dev")];
    root.settle(dev()).unwrap();
    for (name, found) in
        [("pts", "a link where a directory"), ("null", "a link where a directory"), ("console", "a link")]
    {
        let path = PathBuf::from(root.host("dir")).join(name);
        symlink("/run", &path).unwrap();
        let refused = root.settle(dev()).unwrap_err();
        assert!(refused.starts_with(&format!("`/dev/{name}` of the container's root is {found}")), "{refused}");
        fs::remove_file(&path).unwrap();
    }
    fs::write(PathBuf::from(root.host("dir")).join("null"), "").unwrap();
    let refused = root.settle(dev()).unwrap_err();
    assert!(refused.contains("`/dev/null` of the container's root is a file where a character device"), "{refused}");
    let sys = PathBuf::from(root.host("dir")).join("firmware");
    symlink("/etc", &sys).unwrap();
    let refused = root.settle(vec![bind(&root.host("dir"), "/sys")]).unwrap_err();
    assert!(refused.contains("`/sys/firmware` of the container's root is a link"), "{refused}");
}

#[test]
fn links_of_the_users_targets_are_followed_in_the_root() {
    let root = Root::new();
    root.link("/run", "/var/run");
    root.link("../../../run/deep/er", "/var/lib");
    let (dir, file) = (root.host("dir"), root.host("file"));
    let cases = [
        (vec![bind(&dir, "/var/run/app")], vec!["/run/app"]),
        (vec![bind(&file, "/var/run/app.sock")], vec!["/run/app.sock"]),
        (vec![bind(&dir, "/var/run/none/../app")], vec!["/run/app"]),
        // The second mount hides nothing of the first, though it has a shorter path.
        (vec![bind(&dir, "/var/lib/x"), bind(&dir, "/run/deep")], vec!["/run/deep", "/run/deep/er/x"]),
        // The mount over it hides the link.
        (vec![tmpfs("/var", &[]), bind(&dir, "/var/run/app")], vec!["/var", "/var/run/app"]),
        (vec![bind(&dir, "/plain/none")], vec!["/plain/none"]),
    ];
    for (mounts, expected) in cases {
        let named: Vec<_> = mounts.iter().map(|mount| mount.target.clone()).collect();
        assert_eq!(root.settle(mounts).unwrap(), expected, "{named:?}");
    }
    // The same for links in a mount.
    symlink("/etc", PathBuf::from(&dir).join("link")).unwrap();
    let mounts = vec![bind(&dir, "/data"), bind(&dir, "/data/link/x")];
    assert_eq!(root.settle(mounts).unwrap(), ["/data", "/etc/x"]);
}

#[test]
fn an_invalid_mount_target_is_named() {
    let root = Root::new();
    root.link("/", "/top");
    root.link("/loop", "/loop");
    root.file("/file");
    let (dir, file) = (root.host("dir"), root.host("file"));
    for (mount, expected) in [
        (bind(&dir, "/file"), "`/file` of the container's root is a file where a directory is needed"),
        (tmpfs("/file", &[]), "`/file` of the container's root is a file where a directory is needed"),
        (bind(&file, "/etc"), "`/etc` of the container's root is a directory where a file is needed"),
        (bind(&dir, "/file/x"), "cannot use `/file/x` of the container's root: `/file` is not a directory"),
        (bind(&dir, "/loop/x"), "cannot use `/loop/x` of the container's root: `/loop/x` leads through more than"),
        (bind(&dir, "/top"), "mount target `/top` is not an absolute path below `/`"),
    ] {
        let refused = root.settle(vec![mount]).unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn a_device_has_its_true_place() {
    let root = Root::new();
    root.link("/run", "/var/run");
    root.link("/etc/none", "/var/dangling");
    let planned = PlannedRoot::open(&root.at("")).unwrap();
    let settled = |path: &str| {
        let (kind, major, minor) = ('c', 1, 3);
        let mut device = oci::Device { path: path.to_owned(), kind, major, minor, file_mode: 0o600, uid: 0, gid: 0 };
        settle_device(&planned, &mut device).map(|()| device.path).map_err(|error| chain(&error))
    };
    assert_eq!(settled("/dev/null").unwrap(), "/dev/null");
    assert_eq!(settled("/var/run/null").unwrap(), "/run/null");
    assert_eq!(settled("/var/dangling").unwrap(), "/etc/none");
    let mode = rustix::fs::Mode::RUSR;
    for (name, minor) in [("same", 3), ("other", 5)] {
        let number = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(rustix::fs::CWD, root.at(name), FileType::CharacterDevice, mode, number).unwrap();
    }
    assert_eq!(settled("/same").unwrap(), "/same");
    assert!(settled("/other").unwrap_err().contains("is a character device where the device asked for is needed"));
    assert!(settled("/etc").unwrap_err().contains("is a directory where the device asked for"));
}

#[test]
fn a_working_directory_is_made_where_the_container_will_see_it() {
    let root = Root::new();
    root.link("/run", "/var/run");
    root.file("/file");
    let mut planned = PlannedRoot::open(&root.at("")).unwrap();
    planned.mount("/data".into(), Content::Host(root.host("dir").into()));
    planned.mount("/proc".into(), Content::Fresh);
    root.link("/data", "/var/data");
    let missing = |path: &str| missing_workdir(&planned, path).map_err(|error| chain(&error));
    assert_eq!(missing("/var/run/app").unwrap(), Some(PathBuf::from("/run/app")));
    assert_eq!(missing("/none/deep/").unwrap(), Some(PathBuf::from("/none/deep")));
    // Present already, or left to the runtime.
    for path in ["/", "/etc", "/var/run", "/data", "/data/app", "/var/data/app", "/proc/self"] {
        assert_eq!(missing(path).unwrap(), None, "{path}");
    }
    let expected = "cannot make the working directory `/file/x` of the container: `/file` is not a directory";
    assert_eq!(missing("/file/x").unwrap_err(), expected);
    assert!(missing("/file").unwrap_err().ends_with("`/file` is not a directory"));
}
