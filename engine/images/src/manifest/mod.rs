//! Manifests, indexes and configs: parsed with limits, from untrusted bytes.
//!
//! Nothing here trusts a digest or a size: they are claims, which the code that fetches the content compares with it.

pub mod config;
pub mod descriptor;
pub mod document;
mod json;
pub mod platform;
pub mod write;

use sha2::Digest as _;

pub use config::{Execution, Healthcheck, HistoryEntry, ImageConfig};
pub use descriptor::{Descriptor, Layer, LayerFormat};
pub use document::{Document, Index, Manifest};
pub use platform::Platform;

use engine_domain::id::Digest;

/// The longest manifest or index.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// The longest config.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// The most layers that overlayfs and every other engine can stack.
pub const LAYERS_LIMIT: usize = 127;

/// A document is not one that an image can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the {what} is {bytes} bytes long, more than {limit}")]
    TooLong { what: &'static str, bytes: u64, limit: u64 },
    #[error("the {what} is not valid JSON of its kind")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("the {what} is not valid: {problem}")]
    Invalid { what: &'static str, problem: String },
    #[error("the manifest has schema 1, which is obsolete: push the image again with a current tool")]
    Schema1,
    #[error("media type `{media_type}` of the {what} is unknown")]
    UnknownMediaType { what: &'static str, media_type: String },
    #[error("it is not an image: its config has media type `{media_type}`")]
    NotAnImage { media_type: String },
    #[error("layer {digest} is kept outside of registries (media type `{media_type}`), which is not supported")]
    ForeignLayer { digest: Digest, media_type: String },
    #[error("the image has {layers} layers, more than {LAYERS_LIMIT}")]
    TooManyLayers { layers: usize },
    #[error("there is no image for platform {wanted}; there are: {available}")]
    NoPlatform { wanted: Platform, available: String },
    #[error("the manifest has {layers} layers and the config has {diff_ids}")]
    LayersDiffer { layers: usize, diff_ids: usize },
}

/// Checks that manifest and config have the same number of layers.
pub fn check_layers(manifest: &Manifest, config: &ImageConfig) -> Result<(), ManifestError> {
    let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
    if layers == diff_ids { Ok(()) } else { Err(ManifestError::LayersDiffer { layers, diff_ids }) }
}

/// SHA-256 of a whole document.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

fn check_length(what: &'static str, bytes: &[u8], limit: u64) -> Result<(), ManifestError> {
    let length = bytes.len() as u64;
    if length > limit { Err(ManifestError::TooLong { what, bytes: length, limit }) } else { Ok(()) }
}
