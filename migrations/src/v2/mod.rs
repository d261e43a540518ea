//! The shapes that format 2 brought: containers made of images, images, volumes. Frozen, as those of [`crate::v1`], which
//! go on where nothing has changed.
//!
//! The number in a name is the schema number: the first shape of a thing is `V1` in whatever format it came.

mod container;
mod image;
pub(crate) mod upcasts;
mod volume;

pub use container::{CardV2, ContainerRowV2, CreateRequestedV2, PhaseV2, RemoveRequestedV2, RemovingV2};
pub use image::{ImageAddedV1, ImageFactsV1, ImageNameV1, ImageRemovedV1, ImageRowV1, ImageTaggedV1, ImageUntaggedV1};
pub use volume::{VolumeCreatedV1, VolumePhaseV1, VolumeRemoveRequestedV1, VolumeRemovedV1, VolumeRowV1};
