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
pub mod pause;
pub mod progress;
mod pull;
pub mod records;
mod remove;
mod save;
mod uses;
mod view;

pub use engine_images::{layer, manifest, reference, registry, store};

pub use error::ImageError;
pub use feed::{Feed, Pieces, feed};
pub use find::{Configs, stack};
pub use import::Import;
pub use list::{Chosen, Listed};
pub use load::Loaded;
pub use pull::{Pulling, Pulls, Wanted};
pub(crate) use remove::familiar;
pub use remove::{Pruned, Removal};
pub use save::Format;
pub use uses::{ImageLease, ImageLeases, LayerUses};
