//! What the daemon takes from the kernel and from its own process: files beneath a handle, copies and removals of trees,
//! mounts, helper programs, the clock, signals, cancellation of blocking work, panics. It knows nothing of containers.

pub mod cancel;
pub mod cause;
pub mod clock;
pub mod failpoint;
pub mod fs;
pub mod helper;
pub mod latest;
pub mod log_lines;
pub mod panics;
pub mod signals;
pub mod sys;
pub mod warnings;
