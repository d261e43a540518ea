//! Extended attributes of files that are known by their handles. Handles may be those that only name a file.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::XattrFlags;

use super::copy;

/// Name and value of each, but for those by which an overlay keeps its books, and labels that belong to a place.
pub fn read(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = by_handle(&file);
    let list = copy::xattr_list(|buffer| rustix::fs::listxattr(&path, buffer))?;
    let pair = |name: &CStr| {
        let value = copy::xattr_value(|buffer| rustix::fs::getxattr(&path, name, buffer))?;
        Ok((name.to_bytes().to_vec(), value))
    };
    copy::attributes(&list).map(pair).collect()
}

/// The attributes of a file that is open for reading: without the way through `/proc`.
pub fn read_open(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let list = copy::xattr_list(|buffer| rustix::fs::flistxattr(&file, buffer))?;
    let pair = |name: &CStr| {
        let value = copy::xattr_value(|buffer| rustix::fs::fgetxattr(&file, name, buffer))?;
        Ok((name.to_bytes().to_vec(), value))
    };
    copy::attributes(&list).map(pair).collect()
}

/// The value of one; `None` when it is not there.
pub fn get(file: impl AsFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let path = by_handle(&file);
    match copy::xattr_value(|buffer| rustix::fs::getxattr(&path, name, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets one. One that this file system does not know is left out, and so is one that no archive may bring: an overlay's
/// own.
pub fn set(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    if [&b"trusted.overlay."[..], b"user.overlay.", b"security.selinux"].iter().any(|own| name.starts_with(own)) {
        return Ok(());
    }
    copy::kept_where_known(rustix::fs::setxattr(by_handle(&file), name, value, XattrFlags::empty()))
}

/// A path to the file itself, also if it is a link.
fn by_handle(file: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}
