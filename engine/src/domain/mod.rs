//! What a container, an image and a volume are and what may happen to them: pure state machines, without clock, disk, network or async.

pub mod aggregate;
pub mod container;
pub mod id;
pub mod image;
pub mod text;
pub mod volume;
