//! The harness of the integration tests and the benchmarks: one [`Node`] is one engine of real binaries on directories,
//! a socket and a cgroup of its own, and leaves nothing behind, also after a crash or a failed test.
//!
//! Needs root, `runc` or `crun`, and a static `busybox`; for images `docker-registry`, `skopeo`, `umoci`, `openssl` and
//! `htpasswd`. A missing program is a panic that names it: no test is skipped.

#![forbid(unsafe_code)]

pub mod authority;
pub mod binaries;
pub mod cgroup;
pub mod command;
mod companion;
mod daemon;
pub mod deadline;
pub mod disk;
mod events;
pub mod faulty;
pub mod images;
pub mod leftovers;
pub mod node;
pub mod process;
pub mod registry;
pub mod rootfs;
mod signals;
pub mod terminal;
pub mod tree;

pub use command::Output;
pub use daemon::Ended;
pub use faulty::{Fault, Faulty};
pub use images::Image;
pub use leftovers::Leftovers;
pub use node::{Node, NodeBuilder, Runtime};
pub use process::Process;
pub use registry::Registry;
pub use terminal::Terminal;
