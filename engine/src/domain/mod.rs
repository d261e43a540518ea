//! What a container is and what may happen to it: pure state machines, without clock, disk, network or async.

pub mod container;
pub mod id;
pub mod text;
