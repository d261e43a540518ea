//! The engine behind `isulad`.

pub mod definition;
pub mod spec;
