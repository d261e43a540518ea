//! The daemon's sockets: accessible to root and one group, and never taken from a living daemon.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::net::UnixListener;

use crate::config::Config;

#[derive(Debug)]
pub(super) struct Socket {
    pub path: PathBuf,
    pub listener: UnixListener,
}

pub(super) fn bind_all(config: &Config) -> anyhow::Result<Vec<Socket>> {
    let group = nix::unistd::Group::from_name(&config.group).ok().flatten();
    if group.is_none() {
        tracing::info!(group = config.group, "no such group: the socket is root's alone");
    }
    let gid = group.map(|group| group.gid);
    config.hosts.iter().map(|path| bind(path, gid)).collect()
}

fn bind(path: &Path, group: Option<nix::unistd::Gid>) -> anyhow::Result<Socket> {
    let named = || format!("cannot listen on `{}`", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(named)?;
    }
    clear(path)?;
    // Other users must not connect in the moment before the permissions are set.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener.with_context(named)?;
    if group.is_some() {
        nix::unistd::chown(path, None, group).with_context(named)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(named)?;
    }
    Ok(Socket { path: path.to_owned(), listener })
}

/// Removes the socket that a killed daemon left; a path that another daemon serves, or that is no socket, is an error.
fn clear(path: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", path.display())),
        Ok(meta) if !meta.file_type().is_socket() => {
            bail!("`{}` is in the way and not a socket; remove it or choose another --host", path.display())
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("`{}` is taken: another daemon answers there; stop it or choose another --host", path.display()),
        // Nothing listens there any more.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot tell whether a daemon listens on `{}`; choose another --host or remove it",
                    path.display()
                )
            });
        }
    }
    std::fs::remove_file(path).with_context(|| format!("cannot remove the left-over socket `{}`", path.display()))
}

pub(super) fn remove_all(paths: &[PathBuf]) {
    for path in paths {
        let _ = std::fs::remove_file(path);
    }
}
