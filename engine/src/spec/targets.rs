//! Checks every place that a runtime makes, mounts over or opens by its path, before the runtime runs.
//!
//! A root belongs to the author of its image. The places that the engine has runtimes set up in it, `/dev`, `/proc`,
//! `/sys` and below, have to be plain directories there: not every runtime is safe with a link in such a place, and no
//! image has a use for one. At the target of a user's mount a link is common (`/var/run`, `/etc/resolv.conf`); it is
//! followed here, beneath the root, and the runtime is given the place without it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::rootfs::{BeneathError, Content, Located, PlannedRoot};

use super::{SpecError, oci, paths};

/// Mounted by the engine in every root.
const DIRECTORIES: [&str; 7] = ["/proc", "/sys", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup"];

/// Made by runtimes unasked; one of them is mounted over masked paths.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom"];

/// Puts mounts in the order in which they are made, each with its true target; and the root as it looks with them.
pub(super) fn settle<'a>(
    rootfs: &Path,
    mut list: Vec<oci::Mount<'a>>,
) -> Result<(Vec<oci::Mount<'a>>, PlannedRoot), SpecError> {
    let mut root = PlannedRoot::open(rootfs).map_err(|source| SpecError::Root { source })?;
    for path in DIRECTORIES.into_iter().filter(|path| !is_old_shm(&root, path)) {
        plain_directory(&root, path)?;
    }
    // Stable: of two mounts with the same depth the one asked for later is mounted later.
    list.sort_by_cached_key(|mount| depth(&root, &mount.destination));
    for mount in &mut list {
        let located = if is_ours(&mount.destination) {
            plain_directory(&root, &mount.destination)?
        } else {
            let target = || mount.destination.clone().into_owned();
            root.locate(Path::new(&*mount.destination))
                .map_err(|source| SpecError::Target { path: target(), source })?
        };
        check_kinds(mount, &located)?;
        let content = match mount.kind {
            "bind" => Content::Host(PathBuf::from(&*mount.source)),
            _ => Content::Fresh,
        };
        if located.path != Path::new(&*mount.destination) {
            mount.destination = text(&located.path)?.into();
        }
        root.mount(located.path, content);
    }
    Ok((list, root))
}

/// Checks the places that runtimes touch beside the mounts; and the devices, each with its true place.
pub(super) fn check(
    root: &PlannedRoot,
    devices: &mut [oci::Device],
    privileged: bool,
    terminal: bool,
) -> Result<(), SpecError> {
    for path in DEVICES {
        if let Some(found) = plain(root, path)?.found
            && found.kind != FileType::CharacterDevice
        {
            return Err(not_plain(path, found.kind, "a character device"));
        }
    }
    if terminal
        && let Some(found) = plain(root, "/dev/console")?.found
        && found.kind == FileType::Directory
    {
        return Err(not_plain("/dev/console", found.kind, "a device"));
    }
    if !privileged {
        for path in paths::MASKED.iter().chain(paths::READ_ONLY) {
            plain(root, path)?;
        }
    }
    devices.iter_mut().try_for_each(|device| settle_device(root, device))
}

/// The working directory, if it is missing in the root itself. Within a mount it is left to the runtime.
pub(super) fn missing_workdir(root: &PlannedRoot, workdir: &str) -> Result<Option<PathBuf>, SpecError> {
    let failed = |source| SpecError::Workdir { path: workdir.to_owned(), source };
    let located = root.locate(Path::new(workdir)).map_err(failed)?;
    match located.found {
        Some(found) if found.kind == FileType::Directory => Ok(None),
        Some(_) => Err(failed(BeneathError::NotADirectory { path: located.path })),
        None => Ok(Some(located.path).filter(|_| !located.mounted)),
    }
}

/// A device of the same kind and numbers may be there already, after an earlier start.
fn settle_device(root: &PlannedRoot, device: &mut oci::Device) -> Result<(), SpecError> {
    let failed = |source| SpecError::Target { path: device.path.clone(), source };
    let located = root.locate(Path::new(&device.path)).map_err(failed)?;
    if let Some(found) = &located.found {
        let same = match (found.kind, device.kind) {
            (FileType::CharacterDevice, 'c') | (FileType::BlockDevice, 'b') => {
                let facts = rustix::fs::fstat(&found.handle);
                let facts =
                    facts.map_err(|errno| BeneathError::Open { path: located.path.clone(), source: errno.into() });
                facts.map_err(failed)?.st_rdev == rustix::fs::makedev(device.major, device.minor)
            }
            _ => false,
        };
        if !same {
            return Err(not_plain(&device.path, found.kind, "the device asked for"));
        }
    }
    device.path = text(&located.path)?;
    Ok(())
}

fn is_ours(destination: &str) -> bool {
    DIRECTORIES.contains(&destination)
}

/// Images of Debian 7's time lead from `/dev/shm` to `/run/shm`. The engine's `/dev` covers it; in a `/dev` that a user
/// mounts it is refused like any other link.
fn is_old_shm(root: &PlannedRoot, path: &str) -> bool {
    let path = Path::new(path);
    path == Path::new("/dev/shm")
        && matches!(root.locate_plain(path), Err(BeneathError::Link { path: link }) if link == path)
        && root.locate(path).is_ok_and(|located| located.path == Path::new("/run/shm"))
}

fn plain_directory(root: &PlannedRoot, path: &str) -> Result<Located, SpecError> {
    let located = plain(root, path)?;
    match &located.found {
        Some(found) if found.kind != FileType::Directory => Err(not_plain(path, found.kind, "a directory")),
        Some(_) | None => Ok(located),
    }
}

/// Requires a place without a link, and with only directories above it.
fn plain(root: &PlannedRoot, path: &str) -> Result<Located, SpecError> {
    root.locate_plain(Path::new(path)).map_err(|source| match source {
        BeneathError::Link { path } => not_plain(&path.display().to_string(), FileType::Symlink, "a directory"),
        source => SpecError::Target { path: path.to_owned(), source },
    })
}

fn not_plain(path: &str, found: FileType, wanted: &'static str) -> SpecError {
    SpecError::NotPlain { path: path.to_owned(), found: name_of(found), wanted }
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "of an unknown kind",
    }
}

/// A directory covers only a directory, and any other file only a file; the root cannot be covered.
fn check_kinds(mount: &oci::Mount<'_>, located: &Located) -> Result<(), SpecError> {
    if located.path == Path::new("/") {
        return Err(SpecError::MountTarget { path: mount.destination.clone().into_owned() });
    }
    let Some(found) = &located.found else { return Ok(()) };
    let is_dir = match mount.kind {
        // A missing source was reported before, or is one of the engine's own files.
        "bind" => fs::metadata(&*mount.source).map_or(found.kind == FileType::Directory, |facts| facts.is_dir()),
        _ => true,
    };
    if is_dir == (found.kind == FileType::Directory) {
        return Ok(());
    }
    let wanted = if is_dir { "a directory" } else { "a file" };
    Err(not_plain(&mount.destination, found.kind, wanted))
}

/// The depth of the place that the bare root leads to. A path that cannot be followed there is reported when it is
/// mounted.
fn depth(root: &PlannedRoot, destination: &str) -> usize {
    let given = Path::new(destination);
    let located = if is_ours(destination) { None } else { root.locate(given).ok() };
    located.map_or(given.to_path_buf(), |located| located.path).components().count()
}

fn text(path: &Path) -> Result<String, SpecError> {
    super::utf8(path).map(str::to_owned)
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;
