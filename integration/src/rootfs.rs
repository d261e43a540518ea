//! The containers' root filesystem: one static busybox and a link for each of its programs. Made once and shared, since
//! the engine never changes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::binaries;

/// The root filesystem's directory, in the target directory.
pub static BUSYBOX: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = binaries::DIRECTORY.join("integration-rootfs");
    let complete = place.join("etc/complete");
    if !complete.is_file() {
        // Beside it and renamed: another test program may be at it too.
        let draft = place.with_extension(std::process::id().to_string());
        make(&draft);
        if fs::rename(&draft, &place).is_err() {
            assert!(complete.is_file(), "{} is in the way: remove it", place.display());
            let _ = fs::remove_dir_all(&draft);
        }
    }
    place
});

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
