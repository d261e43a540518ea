//! What needs the operating system directly. The only place with `unsafe`: one call to a block, with its reason.

pub mod pidfd;
pub mod process_ref;
pub mod spawn;
