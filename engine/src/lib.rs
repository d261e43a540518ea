//! The engine behind `isulad`.

pub mod abandon;
pub mod api;
pub mod cause;
pub mod clock;
pub mod config;
pub mod container_log;
pub mod definition;
pub mod domain;
pub mod effects;
pub mod engine;
pub mod failpoint;
pub mod image;
pub mod journal;
pub mod layout;
pub mod network;
pub mod projection;
pub mod recovery;
pub mod rootfs;
pub mod runtime;
pub mod server;
pub mod shim_process;
pub mod signals;
pub mod spec;
pub mod supervisor;
mod sys;
pub mod turn;
pub mod volume;
