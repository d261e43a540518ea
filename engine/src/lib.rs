//! The engine behind `isulad`.

pub mod api;
pub mod config;
pub mod container_log;
pub mod containers;
pub mod definition;
pub mod effects;
pub mod engine;
pub mod exec;
pub mod files;
pub mod health;
pub mod image;
pub mod journal;
pub mod layout;
pub mod ledger;
mod memory;
pub mod moves;
pub mod oom;
pub mod recovery;
pub mod rootfs;
pub mod runtime;
pub mod server;
pub mod session;
pub mod shim_process;
pub mod spec;
pub mod supervisor;
pub mod usage;
pub mod volume;

pub use engine_domain as domain;
pub use engine_host::sys::limit_memory;
pub use engine_host::{cancel, cause, clock, failpoint, helper, latest, log_lines, panics, signals, warnings};
pub use engine_networks as network;

use engine_host::sys;
