//! SIGIO for writes to a FIFO.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Sends this process SIGIO for every write to the FIFO, also for one that does not fit and waits: readiness is
/// reported only for a write that was finished, or that found the FIFO empty. The signal must be blocked or handled.
pub fn on(fifo: BorrowedFd<'_>) -> io::Result<()> {
    let fd = fifo.as_raw_fd();
    // SAFETY: it names the receiver of a descriptor's signals by its pid; no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETOWN, libc::getpid()) })?;
    set(fd, flags(fd)? | libc::O_ASYNC)
}

/// Turns the signal off.
pub fn off(fifo: BorrowedFd<'_>) -> io::Result<()> {
    let fd = fifo.as_raw_fd();
    set(fd, flags(fd)? & !libc::O_ASYNC)
}

fn flags(fd: RawFd) -> io::Result<i32> {
    // SAFETY: it reads the descriptor's flags; no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

fn set(fd: RawFd, flags: i32) -> io::Result<()> {
    // SAFETY: it sets the descriptor's flags; no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
