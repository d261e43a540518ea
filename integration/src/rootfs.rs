//! The containers' root filesystem: one static busybox and a link for each of its programs. Made once and shared, since
//! the engine never changes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::Builder;

use crate::binaries;

/// The root filesystem's directory, in the target directory.
pub static BUSYBOX: LazyLock<PathBuf> = LazyLock::new(|| made_once(&binaries::DIRECTORY.join("integration-rootfs")));

/// Makes the root filesystem in `place` unless it is there.
fn made_once(place: &Path) -> PathBuf {
    let complete = place.join("etc/complete");
    if !complete.is_file() {
        // Beside it and renamed: another test program may be at it too, in another pid namespace with the same pid.
        let directory = place.parent().expect("the target directory has a name");
        let draft = Builder::new().prefix("integration-rootfs.").tempdir_in(directory).expect("drafts can be made");
        // Not the temporary directory itself, which only root may enter.
        let root = draft.path().join("root");
        make(&root);
        if fs::rename(&root, place).is_err() {
            assert!(complete.is_file(), "{} is in the way: remove it", place.display());
        }
    }
    place.to_owned()
}

/// Makes such a root filesystem in `place`, for a test that needs its own.
pub fn make(place: &Path) {
    let busybox = binaries::required("busybox");
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "run", "home/guest"] {
        fs::create_dir_all(place.join(directory)).expect("the target directory is ours to write");
    }
    fs::copy(&busybox, place.join("bin/busybox")).expect("busybox can be copied");
    let list = Command::new(&busybox).arg("--list").output().expect("busybox runs");
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", place.join("bin").join(name)).expect("links can be made");
    }
    let write = |name: &str, text: &str| fs::write(place.join("etc").join(name), text).expect("files can be written");
    write("passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home/guest:/bin/sh\n");
    write("group", "root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n");
    write("complete", "");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    #[test]
    fn programs_with_the_same_pid_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("rootfs");
        thread::scope(|scope| {
            let makers: Vec<_> = (0..4).map(|_| scope.spawn(|| made_once(&place))).collect();
            for maker in makers {
                assert_eq!(maker.join().unwrap(), place);
            }
        });
        assert!(place.join("bin/sh").exists());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&place), mode(&place.join("bin")), "as the user's mask has it");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    }
}
