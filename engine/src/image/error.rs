//! The errors that keep an image from being added, removed or used.

use std::io;

use store::AppendError;

use super::layer::LayerError;
use super::manifest::ManifestError;
use super::reference::ReferenceError;
use super::registry::RegistryError;
use super::store::StoreError;
use crate::domain::id::Digest;
use crate::domain::image::Rejection;
use crate::ledger::TurnError;
use crate::rootfs::RootfsError;

/// The texts are fit for users.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("No such image: {reference}")]
    NoSuchImage { reference: String },
    #[error("`{reference}` is the beginning of several images' ids: give more digits")]
    Ambiguous { reference: String },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("cannot give an image the name `{name}`: a name that it is given has a tag and no digest")]
    NotATag { name: String },
    #[error("cannot pull `{reference}`")]
    Registry { reference: String, source: Box<RegistryError> },
    #[error(transparent)]
    Login(Box<RegistryError>),
    #[error("`{what}` cannot be used")]
    Document { what: String, source: Box<ManifestError> },
    #[error("`{reference}` is for {found}, not for {wanted}")]
    Platform { reference: String, found: String, wanted: String },
    #[error("cannot unpack layer {layer}")]
    Layer { layer: Digest, source: Box<LayerError> },
    #[error("layer {layer} is not what its manifest says: {what} is {found} instead of {expected}")]
    WrongLayer { layer: Digest, what: &'static str, expected: String, found: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read the archive")]
    Receive { source: io::Error },
    #[error("cannot use the archive: {problem}")]
    Archive { problem: String },
    #[error("cannot send the archive")]
    Send { source: io::Error },
    #[error("invalid change `{instruction}`: {problem}")]
    Change { instruction: String, problem: String },
    #[error(
        "image {id} is in use by container {container}; remove that first, or use -f to take away the image's names"
    )]
    InUse { id: String, container: String },
    #[error("image {id} has several names ({names}); use -f to remove it with all of them")]
    ManyNames { id: String, names: String },
    #[error("image {id} is being removed; try again")]
    BeingRemoved { id: String },
    #[error("cannot mount image {id}")]
    View { id: String, source: Box<RootfsError> },
    #[error("image {id} is mounted at `{path}`; unmount it first: isula image unmount {id}")]
    Mounted { id: String, path: String },
    #[error("{0}")]
    Rejected(Rejection),
    #[error("cannot write the journal")]
    Journal(#[from] AppendError),
    #[error("the daemon only reads its store, which is of a newer version: install the newer isulad")]
    ReadOnly,
    #[error("`{key}` is not a filter of images")]
    Filter { key: String },
    #[error("the work was given up before it had an outcome")]
    GivenUp,
    /// Each of several callers that share one piece of work gets the same error.
    #[error("{}", crate::cause::chain(.0.as_ref()))]
    Shared(std::sync::Arc<ImageError>),
    #[error("a task ended abnormally")]
    Task { source: tokio::task::JoinError },
}

impl From<TurnError<Rejection>> for ImageError {
    fn from(error: TurnError<Rejection>) -> Self {
        match error {
            TurnError::Rejected(rejection) => Self::Rejected(rejection),
            TurnError::Journal(error) => Self::Journal(error),
        }
    }
}

impl ImageError {
    /// Whether another attempt may succeed; it goes on where this one has ended.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.is_passing(),
            Self::Store(_) | Self::Journal(_) => true,
            _ => false,
        }
    }

    pub(super) fn document(what: impl Into<String>) -> impl FnOnce(ManifestError) -> Self {
        move |source| Self::Document { what: what.into(), source: source.into() }
    }
}
