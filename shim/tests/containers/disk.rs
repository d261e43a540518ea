//! A file system of a few pages.

use std::path::PathBuf;
use std::process::Command;

pub(crate) struct SmallDisk {
    pub path: PathBuf,
}

impl SmallDisk {
    /// `size`: as mount takes it.
    pub(crate) fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={size}");
        let mount = ["-t", "tmpfs", "-o", &options, "small"];
        assert!(Command::new("mount").args(mount).arg(&path).status().unwrap().success());
        Self { path }
    }

    pub(crate) fn full(path: PathBuf) -> Self {
        let disk = Self::mount(path, "4k");
        std::fs::write(disk.path.join("filler"), [0; 4096]).unwrap();
        disk
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}
