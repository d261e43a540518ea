//! Layers: from a tar stream to a directory that an overlay can be made of, and back.
//!
//! A layer streams: it is decompressed, hashed on both sides of that, and unpacked, and is never on the disk as a blob. What
//! makes the tar more than its files (the order, the headers, the padding) goes into a *recipe* beside them, from which
//! [`assemble`] puts exactly the same tar together again. A layer's directory is
//!
//! ```text
//! fs/           what an overlay takes as one of its lower directories
//! recipe.zst    every byte of the tar that is not the content of a file, and references to those (`recipe.rs`)
//! shadow/<n>    contents of files that the same layer replaced later, which the tar still needs
//! layer.json    what is known of the whole (`Facts`)
//! ```
//!
//! Archives come from strangers. Every name is looked up beneath a handle of `fs`, so that a link inside a layer is followed
//! inside the layer; what an archive may cost is limited; and nothing here panics on any bytes (`engine/fuzz`).
//!
//! All of it is blocking code, and neither syncs nor renames: a layer that was left half made is the caller's to remove.

mod archive;
mod assemble;
mod decoder;
mod error;
mod facts;
mod header;
mod names;
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
pub use unpack::{Limits, Unpacked, unpack};

/// The parts of a layer's directory.
pub const FILES: &str = "fs";
const RECIPE: &str = "recipe.zst";
const SHADOW: &str = "shadow";
const FACTS: &str = "layer.json";
