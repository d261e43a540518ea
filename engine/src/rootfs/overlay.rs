//! The overlay over directories that are never changed, one of the host's or the layers of an image, and a writable
//! layer of the container's.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::fs::{CWD, Mode, OFlags};

use super::{ContainerDirs, RootfsError, layer_files, make_dir_all};

/// The kernel copies one page of options, of at least this size, and wants a NUL at its end.
const OPTIONS_LIMIT: usize = 4095;

/// A directory that an overlay is made of, by handle: the checked directory is the mounted one.
#[derive(Debug)]
pub(super) struct Dir {
    pub path: PathBuf,
    pub descriptor: OwnedFd,
}

/// Opens the directory of the host that becomes a root.
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

/// As [`open_lower`], with its name.
pub(super) fn lower(dir: &Path) -> Result<Dir, RootfsError> {
    Ok(Dir { descriptor: open_lower(dir)?, path: dir.to_path_buf() })
}

/// Opens the layers of an image; the first that is missing is named.
pub(super) fn open_layers(graph: &Path, layers: &[String]) -> Result<Vec<Dir>, RootfsError> {
    layers.iter().map(|layer| self::layer(&layer_files(graph, layer))).collect()
}

/// Opens the files of one layer, `…/<diff id>/fs`.
pub(super) fn layer(path: &Path) -> Result<Dir, RootfsError> {
    let path = path.to_path_buf();
    match open_dir(&path) {
        Ok(descriptor) => Ok(Dir { path, descriptor }),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
            let layer = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
            Err(RootfsError::MissingLayer { layer, path })
        }
        Err(errno) => Err(RootfsError::Open { path, source: errno.into() }),
    }
}

/// Opens a directory of the engine.
pub(super) fn own(path: &Path) -> Result<Dir, RootfsError> {
    match open_dir(path) {
        Ok(descriptor) => Ok(Dir { path: path.to_path_buf(), descriptor }),
        Err(errno) => Err(RootfsError::Open { path: path.to_path_buf(), source: errno.into() }),
    }
}

/// A path of an open descriptor, whatever the name of its directory.
pub(super) fn descriptor_path(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Mounts an overlay of `lowers`, bottom first, at `target`, with the container's own upper and work directories.
pub(super) fn mount(dirs: &ContainerDirs<'_>, lowers: &[Dir], target: &Path) -> Result<(), RootfsError> {
    // An image may have no layer at all, an overlay not.
    let empty = if lowers.is_empty() { Some(empty(&dirs.bundle())?) } else { None };
    let lowers = empty.as_ref().map_or(lowers, std::slice::from_ref);
    let top = lowers.last().map(|lower| (lower.path.clone(), &lower.descriptor));
    let (upper, work) = (dirs.upper(), dirs.work());
    if let Some((_, descriptor)) = &top {
        make_upper(&upper, descriptor)?;
    }
    make_dir_all(&work, 0o700)?;
    let (upper, work) = (own(&upper)?, own(&work)?);
    let options = options(lowers, Some((&upper, &work)))?;
    nix::mount::mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(
        |errno| {
            let lower = top.map(|(path, _)| path).unwrap_or_default();
            match errno {
                Errno::ENODEV => RootfsError::NoOverlay,
                Errno::ELOOP => RootfsError::Overlapping { path: lower },
                _ => RootfsError::Overlay { lower, target: target.to_path_buf(), source: errno.into() },
            }
        },
    )
}

fn empty(bundle: &Path) -> Result<Dir, RootfsError> {
    let path = bundle.join("empty");
    make_dir_all(&path, 0o755)?;
    own(&path)
}

/// The options of an overlay. The kernel has the topmost layer first.
///
/// Paths stand for themselves where all are plain and short, so that `mount` shows them; else all go through our
/// descriptors: how `,`, `:` and `\` are escaped has changed between kernels, and the options have to fit one page.
pub(super) fn options(lowers: &[Dir], writable: Option<(&Dir, &Dir)>) -> Result<String, RootfsError> {
    let with = |name: &dyn Fn(&Dir) -> Option<String>| -> Option<String> {
        let lowers: Option<Vec<_>> = lowers.iter().rev().map(name).collect();
        let mut options = format!("lowerdir={}", lowers?.join(":"));
        if let Some((upper, work)) = writable {
            options.push_str(&format!(",upperdir={},workdir={}", name(upper)?, name(work)?));
        }
        Some(options).filter(|options| options.len() < OPTIONS_LIMIT)
    };
    let plain = |dir: &Dir| {
        let text = dir.path.to_str()?;
        let odd = text.len() > 1000 || text.contains([',', ':', '\\', '"', '\n']);
        (!odd).then(|| text.to_owned())
    };
    with(&plain)
        .or_else(|| with(&|dir| Some(descriptor_path(&dir.descriptor))))
        .ok_or(RootfsError::TooManyLayers { count: lowers.len(), most: 127 })
}

/// Makes the writable layer's root look like the topmost lower one's: the container sees it as `/`. It appears
/// under its name only when it does.
fn make_upper(upper: &Path, lower: &OwnedFd) -> Result<(), RootfsError> {
    if upper.is_dir() {
        return Ok(());
    }
    let fresh: PathBuf = upper.with_extension("new");
    make_dir_all(&fresh, 0o700)?;
    let apply_facts = || -> io::Result<()> {
        let facts = fs::metadata(descriptor_path(lower))?;
        std::os::unix::fs::chown(&fresh, Some(facts.uid()), Some(facts.gid()))?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(facts.mode() & 0o7777))?;
        fs::rename(&fresh, upper)
    };
    apply_facts().map_err(|source| RootfsError::MakeDirectory { path: upper.to_path_buf(), source })
}

fn open_dir(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
