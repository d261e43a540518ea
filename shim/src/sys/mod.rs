//! What needs the operating system directly. The only place with `unsafe`: one call to a block, with its reason.

#[doc(hidden)]
pub mod inherited;
#[doc(hidden)]
pub mod nudge;
pub mod pidfd;
pub mod process_ref;
pub mod readable;
#[doc(hidden)]
pub mod reap;
#[doc(hidden)]
pub mod resident;
pub mod spawn;
