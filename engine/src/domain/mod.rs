//! Containers, images and volumes as pure state machines, without clock, disk, network or async.

pub mod aggregate;
pub mod container;
pub mod id;
pub mod image;
pub mod text;
pub mod volume;
