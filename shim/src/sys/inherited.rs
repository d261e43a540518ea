//! The first moments of a shim, while it has one thread and the descriptors its parent left open.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{ForkResult, Pid};

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: called before anything in this process owns a descriptor of that range.
    match unsafe { libc::close_range(first as libc::c_uint, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes over a descriptor that the parent passed under a fixed number, and makes it close-on-exec. `None` when the
/// parent passed none.
pub fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: borrowed for the next call only, which fails cleanly when the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it is open, as the call above showed, and nothing else in this process owns this number.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Forks. `None` in the child, the child's pid in the parent.
pub fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: the process has one thread, so the child may go on with everything the parent could do.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}
