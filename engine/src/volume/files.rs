//! The directories of volumes. All of it blocks.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::VolumeError;
use crate::domain::id::VolumeName;
use crate::layout::Layout;
use crate::rootfs::{self, Mounts};

/// The modes of a volume's directory and of the data directory that containers see.
pub(super) const MODE: u32 = 0o711;
pub(super) const DATA_MODE: u32 = 0o755;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    move |source| VolumeError::Io { action, path: path.to_owned(), source }
}

/// Makes the volume's directory, durably, or takes over the one that is there.
pub(super) fn make(layout: &Layout, name: &VolumeName) -> Result<PathBuf, VolumeError> {
    let data = layout.volume_data(name);
    if data.is_dir() {
        return Ok(data);
    }
    let all = layout.volumes();
    // Its owner and mode are taken from the image when it is filled; until then as any directory that a container
    // writes to.
    for (dir, mode) in [(&all, 0o711), (&layout.volume(name), MODE), (&data, DATA_MODE)] {
        match DirBuilder::new().mode(mode).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            made => made.map_err(failed("make the directory", dir))?,
        }
    }
    for dir in [&layout.volume(name), &all, &layout.graph] {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the directory", dir))?;
    }
    Ok(data)
}

/// Fails if something is mounted in the volume: a deletion would go on in there.
pub(super) fn check_mounts(layout: &Layout, name: &VolumeName) -> Result<(), VolumeError> {
    let dirs = [layout.volume(name), layout.volume_removing(name)];
    // The directories as the kernel spells them.
    let real: Vec<PathBuf> = dirs.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
    let prefixes: Vec<&Path> = dirs.iter().chain(&real).map(PathBuf::as_path).collect();
    let mounts = rootfs::mounts_below(&prefixes).map_err(failed("read the mounts below", &dirs[0]))?;
    match mounts.into_iter().next() {
        Some(mount) => Err(VolumeError::Mounted { name: name.clone(), path: mount.target }),
        None => Ok(()),
    }
}

/// Deletes the volume's directory. May be repeated from anywhere.
pub(super) fn delete(layout: &Layout, name: &VolumeName) -> Result<(), VolumeError> {
    check_mounts(layout, name)?;
    let (dir, removing) = (layout.volume(name), layout.volume_removing(name));
    // The rest of an interrupted removal: it must not come back under the name.
    remove_tree(&removing)?;
    match fs::rename(&dir, &removing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed.map_err(failed("move away", &dir))?,
    }
    remove_tree(&removing)?;
    match File::open(layout.volumes()).and_then(|all| all.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(failed("sync the directory", &layout.volumes())),
    }
}

fn remove_tree(path: &Path) -> Result<(), VolumeError> {
    rootfs::remove_tree(path, Mounts::Refuse).map_err(failed("remove", path))
}

/// Bytes on disk below the directory, on its own file system; unreadable directories count nothing.
pub(super) fn bytes(dir: &Path) -> u64 {
    let Ok(root) = fs::symlink_metadata(dir) else { return 0 };
    let mut total = 0_u64;
    let mut left = vec![dir.to_owned()];
    let mut linked = std::collections::HashSet::new();
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            // A file with several names lies on the disk once.
            if meta.dev() != root.dev() || (meta.nlink() > 1 && !meta.is_dir() && !linked.insert(meta.ino())) {
                continue;
            }
            total = total.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    total
}
