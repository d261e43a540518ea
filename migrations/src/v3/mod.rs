//! The shapes that format 3 brought: restart policies, health, updates, networks, exec and attach sessions. Frozen, as those of
//! [`crate::v1`] and [`crate::v2`], which go on where nothing has changed.

mod container;
mod events;
pub(crate) mod upcasts;

pub use container::{
    AttachmentV1, CardV3, ContainerRowV3, HealthActionV1, HealthV1, PhaseV3, RemovingV3, RestartPolicyV1, RestartingV1,
    RestartsV1, RunV2, UpdateV1,
};
pub use events::{
    AttachedV1, CreateRequestedV3, DetachedV1, ExecExitedV1, ExecStartedV1, HealthChangedV1, NetworkAttachedV1,
    NetworkDetachedV1, RestartCancelledV1, RestartScheduledV1, UpdateFailedV1, UpdateRequestedV1, UpdatedV1,
};
