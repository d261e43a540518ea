//! One mount point: whether it is mounted, and its release.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use super::{RootfsError, mounts_below};

/// Whether `path` is the root of a mount. A path that does not exist is not.
pub(super) fn is_mounted(path: &Path) -> Result<bool, RootfsError> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE) {
        Ok(facts) if facts.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        Err(rustix::io::Errno::NOENT) => Ok(false),
        // Before Linux 5.8, and for paths that `statx` cannot examine, such as a dead network file system.
        _ => is_listed(path).map_err(|source| RootfsError::Examine { path: path.to_path_buf(), source }),
    }
}

/// Listed by the name without links; only the last part may be one, and is not followed.
fn is_listed(path: &Path) -> io::Result<bool> {
    let real = match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(dir)), Some(name)) => dir.join(name),
        _ => path.to_path_buf(),
    };
    Ok(mounts_below(&[&real])?.iter().any(|mount| mount.target == real))
}

/// Cuts the mount off from its peers, so that nothing mounted below it reaches them.
pub(super) fn make_private(path: &Path) -> Result<(), RootfsError> {
    nix::mount::mount(None::<&str>, path, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| RootfsError::MakePrivate { path: path.to_path_buf(), source: errno.into() })
}

/// Unmounts everything stacked at `path`, lazily, and removes the directory.
///
/// A directory with something in it stays and is an error: its contents did not come from a mount of the engine.
pub(super) fn release(path: &Path) -> Result<(), RootfsError> {
    loop {
        match nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => break,
            Err(errno) => return Err(RootfsError::Unmount { path: path.to_path_buf(), source: errno.into() }),
        }
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(()),
        // A component of the path is a file: no mount point can be below it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory) => Ok(()),
        Err(source) => Err(RootfsError::RemoveMountPoint { path: path.to_path_buf(), source }),
    }
}
