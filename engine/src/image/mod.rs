//! Images: their records, their layers on disk, and the operations that add and remove them.
//!
//! Content is addressed by SHA-256. An image is a record in the journal, a manifest and a config as files, and layers
//! that are unpacked once, whatever images they are in: an unpacked layer looks the same on any layers below
//! it. Nothing is visible before it is whole and on disk.

mod add;
mod built_in;
mod collect;
mod cover;
mod error;
mod feed;
mod find;
mod import;
mod list;
mod load;
mod making;
mod outlet;
pub(crate) mod pause;
pub(crate) mod progress;
mod pull;
pub(crate) mod records;
mod remove;
mod save;
mod uses;
mod view;

pub(crate) use engine_images::{layer, manifest, reference, registry, store};

pub(crate) use error::ImageError;
pub(crate) use feed::{Feed, Pieces, feed};
pub(crate) use find::{Configs, stack};
pub(crate) use import::Import;
pub(crate) use list::{Chosen, Listed};
pub(crate) use load::Loaded;
pub(crate) use pull::{Pulling, Pulls, Wanted};
pub(crate) use remove::familiar;
pub(crate) use remove::{Pruned, Removal};
pub(crate) use save::Format;
pub(crate) use uses::{ImageLease, ImageLeases, LayerUses};
