//! Images: what is known of them, where their layers are, and how they come and go.
//!
//! Content is addressed by SHA-256. An image is a record in the journal, a manifest and a config as files, and layers
//! that are unpacked once, whatever images they are in: what an unpacked layer looks like does not depend on those below
//! it. Nothing is visible before it is whole and on disk.

pub mod feed;
pub mod layer;
pub mod manifest;
pub mod progress;
pub mod records;
pub mod reference;
pub mod registry;
pub mod store;
