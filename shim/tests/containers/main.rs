//! The real shim with the real runtimes. Needs root, runc, crun and a static busybox; every test has its own
//! directories, container and cgroups, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod adopting;
mod clients;
mod cri_logs;
mod disk;
mod execs;
mod failing;
mod lifecycle;
mod stand;
mod terminals;
