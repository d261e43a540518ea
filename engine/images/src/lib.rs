//! Images apart from the engine that keeps them: references, manifests, registries, layers, and the store of files.
//!
//! Content is addressed by SHA-256. A layer is unpacked once, whatever images it is in: an unpacked layer looks the same
//! on any layers below it. Nothing is visible in the store before it is whole and on disk.

#![forbid(unsafe_code)]

pub mod layer;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod store;
