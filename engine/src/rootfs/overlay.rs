//! The overlay over a directory of the host: the directory below, never changed, and a writable layer of the container's.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::fs::{CWD, Mode, OFlags};

use super::{ContainerDirs, RootfsError, make_dir_all};

/// Opens the directory of the host that becomes a root, by handle: what was checked is what is mounted.
pub(super) fn open_lower(dir: &Path) -> Result<OwnedFd, RootfsError> {
    if !dir.is_absolute() {
        return Err(RootfsError::NotAbsolute { path: dir.to_path_buf() });
    }
    open_dir(dir).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => RootfsError::Missing { path: dir.to_path_buf() },
        rustix::io::Errno::NOTDIR => RootfsError::NotADirectory { path: dir.to_path_buf() },
        other => RootfsError::Open { path: dir.to_path_buf(), source: other.into() },
    })
}

/// A path that names an open descriptor of ours, whatever its directory is called.
pub(super) fn descriptor_path(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Mounts an overlay of `lower` at `target`, with the container's own upper and work directories.
pub(super) fn mount(dirs: &ContainerDirs<'_>, lower: &Path, target: &Path) -> Result<(), RootfsError> {
    let lower_fd = open_lower(lower)?;
    let (upper, work) = (dirs.upper(), dirs.work());
    make_upper(&upper, &lower_fd)?;
    make_dir_all(&work, 0o700)?;
    let open = |path: &Path| {
        open_dir(path).map_err(|errno| RootfsError::Open { path: path.to_path_buf(), source: errno.into() })
    };
    let (upper_fd, work_fd) = (open(&upper)?, open(&work)?);
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        option_path(lower, &lower_fd),
        option_path(&upper, &upper_fd),
        option_path(&work, &work_fd)
    );
    nix::mount::mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(
        |errno| match errno {
            Errno::ENODEV => RootfsError::NoOverlay,
            Errno::ELOOP => RootfsError::Overlapping { path: lower.to_path_buf() },
            _ => {
                RootfsError::Overlay { lower: lower.to_path_buf(), target: target.to_path_buf(), source: errno.into() }
            }
        },
    )
}

/// The path as an overlay option: itself where that is plain, so that `mount` shows it, else through our descriptor. How
/// `,`, `:` and `\` are escaped has changed between kernels, and the options have to fit one page.
fn option_path(path: &Path, descriptor: &OwnedFd) -> String {
    let plain = |text: &&str| text.len() <= 1000 && !text.contains([',', ':', '\\', '"', '\n']);
    path.to_str().filter(plain).map_or_else(|| descriptor_path(descriptor), str::to_owned)
}

/// Makes the writable layer's root look like the lower one's: it is what the container sees as `/`. It appears under its
/// name only when it does.
fn make_upper(upper: &Path, lower: &OwnedFd) -> Result<(), RootfsError> {
    if upper.is_dir() {
        return Ok(());
    }
    let fresh: PathBuf = upper.with_extension("new");
    make_dir_all(&fresh, 0o700)?;
    let dress = || -> io::Result<()> {
        let facts = fs::metadata(descriptor_path(lower))?;
        std::os::unix::fs::chown(&fresh, Some(facts.uid()), Some(facts.gid()))?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(facts.mode() & 0o7777))?;
        fs::rename(&fresh, upper)
    };
    dress().map_err(|source| RootfsError::MakeDirectory { path: upper.to_path_buf(), source })
}

fn open_dir(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
