//! The engine's only `unsafe`: registering a descriptor with the event loop, and a change of its own environment.

use std::ffi::OsString;
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

/// Takes a variable out of the environment, so that no child inherits it.
///
/// # Panics
/// When the process has another thread already, which might be reading the environment.
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    assert_eq!(threads, 1, "the environment is changed before any thread is started");
    // SAFETY: this is the only thread of the process, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Some(value)
}
