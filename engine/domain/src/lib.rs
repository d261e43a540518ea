//! Containers, images and volumes as pure state machines, without clock, disk, network or async.

#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm, unreachable_pub)]

pub mod aggregate;
pub mod container;
pub mod id;
pub mod image;
pub mod text;
pub mod volume;
