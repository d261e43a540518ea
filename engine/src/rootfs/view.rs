//! An image's files, shown read-only in a directory of the host.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;

use super::overlay::{self, Dir};
use super::{RootfsError, make_dir_all, mountpoint};

/// Shows `layers`, bottom first, at `target`: read-only, without devices and set-user-id programs. Already shown is
/// fine.
pub(crate) fn mount_view(layers: &[PathBuf], target: &Path) -> Result<(), RootfsError> {
    let layers = layers.iter().map(|layer| overlay::layer(layer)).collect::<Result<Vec<_>, _>>()?;
    make_dir_all(target, 0o700)?;
    if !mountpoint::is_mounted(target)? {
        show(layers, target)?;
    }
    mountpoint::make_private(target)
}

/// Ends a view and removes its mount point. Fine when either is gone already.
pub(crate) fn unmount_view(target: &Path) -> Result<(), RootfsError> {
    mountpoint::release(target)
}

fn show(mut layers: Vec<Dir>, target: &Path) -> Result<(), RootfsError> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let failed = |errno: Errno| match errno {
        Errno::ENODEV => RootfsError::NoOverlay,
        _ => RootfsError::View { target: target.to_path_buf(), source: errno.into() },
    };
    // Without a layer there is nothing to lay over another.
    if layers.is_empty() {
        let options = Some("mode=0755,size=4k");
        return nix::mount::mount(Some("empty"), target, Some("tmpfs"), flags, options).map_err(failed);
    }
    // An overlay that cannot be written wants two layers: the mount point itself is an empty one, at the bottom.
    layers.insert(0, overlay::own(target)?);
    let options = overlay::options(&layers, None)?;
    nix::mount::mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_str())).map_err(failed)
}
