//! The engine behind `isulad`.

pub mod definition;
pub mod domain;
pub mod journal;
pub mod spec;
