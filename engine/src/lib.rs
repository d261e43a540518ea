//! The engine behind `isulad`.

pub mod definition;
pub mod rootfs;
pub mod spec;
