//! The protocol between the daemon and the shims: file names, the process description, the readiness answer, the exit
//! record, the frames of the attach socket. It is plain blocking code, so that either side can use it anywhere.
//!
//! The life of one start, and the proof of each step:
//!
//! 1. The daemon writes [`Process`] to `process.json`, makes and opens `exit_fifo`, and starts the shim with
//!    [`sys::spawn::start`]. When the started process has left, `shim-pid` names the shim that stays.
//! 2. The shim runs the runtime, writes `pid`, and answers one [`Outcome`] line on the readiness pipe.
//! 3. When the container's first process has ended, the shim writes the [`ExitRecord`] durably (or, where it cannot,
//!    to [`StateDir::exit_fallback`]), then its [`ExitStatus::to_wire`] form to `exit_fifo`.
//! 4. The runtime's `delete` follows, then delivery of output that clients have not read yet, for a few seconds at
//!    most, then the removal of the shim's files. `exit_fifo` hangs up last, when the shim exits: from then on the
//!    shim touches nothing. A hang-up without the four bytes before it, and without an exit record, is a lost shim:
//!    the daemon starts another one in adopt mode.

pub mod control;
pub mod exec;
pub mod exit;
pub mod failpoint;
pub mod pid_file;
pub mod process;
pub mod ready;
pub mod regular_file;
pub mod shims;
pub mod state_dir;
pub mod sys;
pub mod tree;

pub use control::{Frame, FrameError, Request};
pub use exec::{ExecProcess, ExecRecord};
pub use exit::{Cause, ExitRecord, ExitStatus, RecordError};
pub use pid_file::PidFileError;
pub use process::Process;
pub use ready::{Failed, Outcome, Ready, Step};
pub use state_dir::StateDir;
pub use sys::process_ref::ProcessRef;

/// The version of the shim and of this protocol, as `isulad-shim --version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
