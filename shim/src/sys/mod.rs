//! Direct calls of the operating system. The only place with `unsafe`: one call to a block, with its reason.

#[doc(hidden)]
pub mod inherited;
pub mod pidfd;
pub mod process_ref;
pub mod readable;
#[doc(hidden)]
pub mod reap;
#[doc(hidden)]
pub mod resident;
#[doc(hidden)]
pub mod sigio;
pub mod spawn;
