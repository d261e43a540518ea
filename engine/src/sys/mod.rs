//! The engine's only `unsafe`: registering a descriptor with the event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Waits for this descriptor in the event loop, as long as the result lives. It must be non-blocking, and of a kind that
/// can be waited for (a pipe, a pidfd, inotify; no regular file).
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor from here until it is dropped, and `AsyncFd` owns it: nobody can close
    // or replace it while it is registered.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}
