//! Waits for a descriptor inside a tokio runtime.
//!
//! A hang-up is remembered for as long as a descriptor is watched, also one that is over, as that of a terminal is
//! once a process opens it again: a caller that continues with such a descriptor watches it anew.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Types that own one descriptor and keep it until they are dropped.
pub trait OwnsDescriptor: AsRawFd + sealed::Sealed {}

impl<T: AsRawFd + sealed::Sealed> OwnsDescriptor for T {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::os::fd::OwnedFd {}
    impl Sealed for nix::sys::signalfd::SignalFd {}
    impl Sealed for crate::sys::pidfd::PidFd {}
}

/// Watches `inner` for becoming readable. Call within a tokio runtime that has I/O enabled; else it panics.
pub fn watch<T: OwnsDescriptor>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the types this is open to own their descriptor, never replace it, and close it only when dropped, which
    // `AsyncFd` does after it has stopped watching.
    Ok(unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }?)
}

/// The same for becoming writable.
pub fn watch_writable<T: OwnsDescriptor>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: as above.
    Ok(unsafe { AsyncFd::register_with_interest(inner, Interest::WRITABLE) }?)
}
