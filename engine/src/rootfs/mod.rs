//! A container's root file system and its `/dev/shm`: mounted before a start, unmounted when it has ended.
//!
//! Both directions may be repeated. A mount that is there stays as it is, a missing one counts as unmounted, so an
//! effect that was interrupted anywhere is finished, or undone, by calling it again. Nothing here deletes a container's
//! data.
//!
//! Propagation: the mount that holds the graph is used as it is, shared or private. A private mount over `<graph>/mnt`
//! would be one more thing that outlives the daemon, and would not help: a copy of the host's mounts made by another
//! process holds our mounts either way, and since Linux 3.18 such a copy no longer keeps a mount point busy. A
//! namespace of the daemon's own would break the `rshared` binds users ask for. The daemon's own mounts are made
//! private at once, so that nothing mounted inside a container's root ever travels back to the host.

mod mountpoint;
mod overlay;
mod view;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};

use crate::domain::id::Digest;
use crate::failpoint;

pub(crate) use engine_host::fs::{
    BeneathError, Content, CopyError, Located, MountEntry, Mounts, PlannedRoot, WriteError, attributes, beneath,
    copy_facts, copy_tree, mounts_below, open_root, remove_tree, write_atomically,
};
pub(crate) use view::{mount_view, unmount_view};

/// Bytes of `/dev/shm` when the request has no size.
pub(crate) const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// The errors of a root file system. The texts are fit for users.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("root file system `{path}` is not an absolute path")]
    NotAbsolute { path: PathBuf },
    #[error("root file system `{path}` does not exist")]
    Missing { path: PathBuf },
    #[error("root file system `{path}` is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("cannot open root file system `{path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error("layer {} of the image is missing (`{path}`); pull or load the image again", .layer.get(..12).unwrap_or(.layer))]
    MissingLayer { layer: String, path: PathBuf },
    #[error("{count} layers are more than one mount takes: {most}")]
    TooManyLayers { count: usize, most: usize },
    #[error("the kernel has no overlay file system")]
    NoOverlay,
    #[error(
        "root file system `{path}` contains the engine's own directory, or lies within it; use it directly instead"
    )]
    Overlapping { path: PathBuf },
    /// The topmost of its layers is named.
    #[error("cannot mount an overlay of `{lower}` at `{target}`")]
    Overlay { lower: PathBuf, target: PathBuf, source: io::Error },
    #[error("cannot show an image at `{target}`")]
    View { target: PathBuf, source: io::Error },
    #[error("cannot bind `{path}` at `{target}`")]
    Bind { path: PathBuf, target: PathBuf, source: io::Error },
    #[error("cannot mount {size} bytes of shared memory at `{target}`")]
    Shm { size: u64, target: PathBuf, source: io::Error },
    #[error("cannot make directory `{path}`")]
    MakeDirectory { path: PathBuf, source: io::Error },
    #[error("cannot make the mount at `{path}` private")]
    MakePrivate { path: PathBuf, source: io::Error },
    #[error("cannot examine `{path}`")]
    Examine { path: PathBuf, source: io::Error },
    #[error("cannot unmount `{path}`")]
    Unmount { path: PathBuf, source: io::Error },
    #[error("cannot remove mount point `{path}`")]
    RemoveMountPoint { path: PathBuf, source: io::Error },
}

/// The source of the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rootfs {
    /// A directory of the host, through an overlay (`direct: false`) or itself.
    External { dir: String, direct: bool },
    /// The layers of an image through an overlay, bottom first: each is named by the 64 digits of its diff id.
    Image { id: String, layers: Vec<String> },
}

impl Rootfs {
    /// The image that the container was created from.
    pub(crate) fn image(&self) -> Option<Digest> {
        match self {
            Self::External { .. } => None,
            Self::Image { id, .. } => id.parse().ok(),
        }
    }
}

/// The directories of one container. Pure names: nothing is made or read by asking for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContainerDirs<'a> {
    pub graph: &'a Path,
    pub runtime: &'a str,
    pub id: &'a str,
}

impl ContainerDirs<'_> {
    /// Everything of the container that survives a reboot: bundle, log, writable layer.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.graph.join("engines").join(self.runtime).join(self.id)
    }

    /// The writable layer.
    pub(crate) fn upper(&self) -> PathBuf {
        self.bundle().join("upper")
    }

    /// The work directory of the overlay file system.
    pub(crate) fn work(&self) -> PathBuf {
        self.bundle().join("work")
    }

    /// Where the root file system is mounted.
    pub(crate) fn merged(&self) -> PathBuf {
        self.graph.join("mnt/rootfs").join(self.id)
    }

    /// Where the container's own `/dev/shm` is mounted.
    pub(crate) fn shm(&self) -> PathBuf {
        self.bundle().join("mounts/shm")
    }
}

/// The files of an image's layer, named by the digits of its diff id.
pub(crate) fn layer_files(graph: &Path, layer: &str) -> PathBuf {
    graph.join("images/layers").join(layer).join("fs")
}

/// Checks that a root file system can be used, so that a create fails before anything is written.
pub(crate) fn check(graph: &Path, rootfs: &Rootfs) -> Result<(), RootfsError> {
    match rootfs {
        Rootfs::External { dir, .. } => overlay::open_lower(Path::new(dir)).map(drop),
        Rootfs::Image { layers, .. } => overlay::open_layers(graph, layers).map(drop),
    }
}

/// Mounts the root file system and returns its directory. Already mounted is fine.
///
/// A direct root is bound without the mounts below it: binding those too would let an unmount of ours reach the
/// originals, should we die between two calls.
pub(crate) fn mount(dirs: &ContainerDirs<'_>, rootfs: &Rootfs) -> Result<PathBuf, RootfsError> {
    let target = dirs.merged();
    make_dir_all(&target, 0o700)?;
    if !mountpoint::is_mounted(&target)? {
        match rootfs {
            Rootfs::External { dir, direct: true } => bind(Path::new(dir), &target)?,
            Rootfs::External { dir, direct: false } => {
                overlay::mount(dirs, &[overlay::lower(Path::new(dir))?], &target)?
            }
            Rootfs::Image { layers, .. } => overlay::mount(dirs, &overlay::open_layers(dirs.graph, layers)?, &target)?,
        }
    }
    mountpoint::make_private(&target)?;
    // Runtimes refuse a root with a link in its path.
    target.canonicalize().map_err(|source| RootfsError::Examine { path: target, source })
}

/// Mounts the container's own shared memory of `size` bytes and returns its directory. Already mounted is fine. A size
/// of 0 is the default, not the kernel's "as much as you like".
pub(crate) fn mount_shm(dirs: &ContainerDirs<'_>, size: u64) -> Result<PathBuf, RootfsError> {
    let size = if size == 0 { DEFAULT_SHM_SIZE } else { size };
    let target = dirs.shm();
    make_dir_all(&target, 0o700)?;
    if !mountpoint::is_mounted(&target)? {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let options = format!("mode=1777,size={size}");
        nix::mount::mount(Some("shm"), &target, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|errno| RootfsError::Shm { size, target: target.clone(), source: errno.into() })?;
    }
    mountpoint::make_private(&target)?;
    Ok(target)
}

/// Unmounts the root file system and removes its mount point. Fine when either is gone already.
pub(crate) fn unmount(dirs: &ContainerDirs<'_>) -> Result<(), RootfsError> {
    mountpoint::release(&dirs.merged())
}

/// Unmounts the container's own shared memory and removes its mount point. Fine when either is gone already.
pub(crate) fn unmount_shm(dirs: &ContainerDirs<'_>) -> Result<(), RootfsError> {
    mountpoint::release(&dirs.shm())
}

/// Unmounts anything mounted at `path` and removes the directory when it is empty: for a sweep of orphaned directories.
pub(crate) fn release(path: &Path) -> Result<(), RootfsError> {
    mountpoint::release(path)
}

/// Detaches the mount at `target` from the tree: it exists as long as the handle is open, so a crash leaves nothing. To
/// be called with the container's files held.
pub(crate) fn detach_to_handle(target: &Path) -> Result<OwnedFd, RootfsError> {
    let opened = open_root(target).map_err(|source| RootfsError::Open { path: target.to_path_buf(), source })?;
    failpoint::hit(failpoint::COPY_MOUNTED);
    mountpoint::release(target)?;
    failpoint::hit(failpoint::COPY_UNMOUNTED);
    Ok(opened)
}

/// The mounted root file system, as the daemon sees it: without the mounts that a running container has made in it.
/// `None` when it is not mounted.
pub(crate) fn open_mounted(dirs: &ContainerDirs<'_>) -> Result<Option<OwnedFd>, RootfsError> {
    let target = dirs.merged();
    if !mountpoint::is_mounted(&target)? {
        return Ok(None);
    }
    open_root(&target).map(Some).map_err(|source| RootfsError::Open { path: target, source })
}

/// Whether `path` is a mount; one that cannot be examined counts as mounted, so that it is not removed.
pub(crate) fn is_mounted(path: &Path) -> bool {
    mountpoint::is_mounted(path).unwrap_or(true)
}

fn bind(dir: &Path, target: &Path) -> Result<(), RootfsError> {
    let source = overlay::open_lower(dir)?;
    let by_descriptor = overlay::descriptor_path(&source);
    nix::mount::mount(Some(by_descriptor.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(
        |errno| RootfsError::Bind { path: dir.to_path_buf(), target: target.to_path_buf(), source: errno.into() },
    )
}

fn make_dir_all(path: &Path, mode: u32) -> Result<(), RootfsError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| RootfsError::MakeDirectory { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests;
