//! The shapes of format 1.
//!
//! Frozen: adding, removing or moving a field here makes every existing journal unreadable, or worse, readable with
//! another meaning. A change is a new struct with the next schema number and an upcast. Only variants may be appended
//! to an enum, and then only together with a new `FORMAT`, so that an older program does not write to the store.

mod container;
mod context;
mod events;
mod image;
mod volume;

pub use container::{
    AttachmentV1, CardV1, CauseV1, ContainerRowV1, EndV1, ExitStatusV1, HealthActionV1, HealthV1, LastV1, PhaseV1,
    ProcessV1, RemovingV1, RestartPolicyV1, RestartingV1, RestartsV1, RunV1, StartingV1, StopV1, UpdateV1,
};
pub use context::{ActorV1, ContextV1};
pub use events::{
    AttachedV1, CreatedV1, DetachedV1, ExecExitedV1, ExecStartedV1, ExitedV1, HealthChangedV1, KilledV1,
    NetworkAttachedV1, NetworkDetachedV1, OomKilledV1, PauseFailedV1, PauseRequestedV1, PausedV1, RemoveFailedV1,
    RemoveRequestedV1, RemovedV1, RenamedV1, RestartCancelledV1, RestartScheduledV1, ResumeFailedV1, ResumeRequestedV1,
    ResumedV1, ShimAdoptedV1, ShimLostV1, StartFailedV1, StartRequestedV1, StartedV1, StopRequestedV1, UpdateFailedV1,
    UpdateRequestedV1, UpdatedV1,
};
pub use image::{ImageAddedV1, ImageFactsV1, ImageNameV1, ImageRemovedV1, ImageRowV1, ImageTaggedV1, ImageUntaggedV1};
pub use volume::{VolumeCreatedV1, VolumePhaseV1, VolumeRemoveRequestedV1, VolumeRemovedV1, VolumeRowV1};
