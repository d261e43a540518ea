//! Images: what is known of them, where their layers are, and how they come and go.
//!
//! Content is addressed by SHA-256. An image is a record in the journal, a manifest and a config as files, and layers
//! that are unpacked once per chain of diff ids. Nothing is visible before it is whole and on disk.

pub mod layer;
pub mod manifest;
pub mod pause;
pub mod reference;
pub mod registry;
