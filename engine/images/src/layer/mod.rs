//! Layers: from a tar stream to a directory that an overlay can be made of, and back.
//!
//! A layer streams: it is decompressed, hashed on both sides of that, and unpacked, and is never on the disk as a blob.
//! All of the tar but the contents of files (the order, the headers, the padding) goes into a *recipe* beside them,
//! from which [`assemble`] puts exactly the same tar together again. A layer's directory is
//!
//! ```text
//! fs/           one of an overlay's lower directories
//! recipe.zst    every byte of the tar that is not the content of a file, and references to those (`recipe.rs`)
//! shadow/<n>    contents of files that the same layer replaced later, which the tar still needs
//! implied       directories without an entry in the tar (`implied.rs`)
//! layer.json    digest and sizes of the whole (`Facts`)
//! ```
//!
//! Archives are untrusted. Every name is looked up beneath a handle of `fs`, so that a link inside a layer is followed
//! inside the layer; its size, entries and compression ratio are limited; and nothing here panics on any bytes
//! (`engine/fuzz`).
//!
//! All of it is blocking code, and neither syncs nor renames: a layer that was left half made is the caller's to
//! remove.

mod archive;
mod assemble;
mod decoder;
mod error;
mod facts;
mod format;
mod header;
mod implied;
pub mod names;
mod pax;
mod recipe;
mod replace;
mod source;
mod sparse;
mod stream;
mod tree;
mod unpack;

#[cfg(test)]
mod tests;

pub use assemble::assemble;
pub use error::{LayerError, Problem};
pub use facts::{Facts, read_facts};
pub use implied::read as read_implied;
pub use unpack::{Limits, Unpacked, unpack};

/// The reading of archives without the making of a layer, for code that unpacks an archive somewhere else.
pub mod reading {
    pub use super::archive::Archive;
    pub use super::error::{is_full, shown};
    pub use super::format::{Foreign, Format, PEEK};
    pub use super::header::{Entry, Kind};
    pub use super::names;
    pub use super::recipe::Writer;
    pub use super::source::Source;
    pub use super::sparse::Map;
    pub use super::stream::Stream;
}

/// The parts of a layer's directory.
pub const FILES: &str = "fs";
const RECIPE: &str = "recipe.zst";
const SHADOW: &str = "shadow";
const FACTS: &str = "layer.json";
