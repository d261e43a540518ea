//! The engine behind `isulad`.

#![forbid(unsafe_code)]

mod api;
pub mod config;
mod container_log;
mod containers;
mod definition;
mod effects;
mod engine;
mod exec;
mod files;
mod health;
mod image;
mod journal;
mod layout;
mod ledger;
mod memory;
mod moves;
mod node;
mod oom;
mod records;
mod recovery;
mod rootfs;
mod runtime;
pub mod server;
mod session;
mod shim_process;
mod spec;
mod supervisor;
mod usage;
mod volume;

pub use engine_host::sys::limit_memory;
pub use engine_host::{failpoint, log_lines, panics};

use engine_domain as domain;
use engine_host::{cancel, cause, clock, helper, latest, signals, sys, warnings};
use engine_networks as network;
