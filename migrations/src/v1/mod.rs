//! The shapes of format 1.
//!
//! Frozen: a field added, removed or moved here makes every journal written so far unreadable, or worse, readable as
//! something else. A change is a new struct with the next schema number and an upcast. Only variants may be appended to
//! an enum, and then only together with a new `FORMAT`, so that an older program leaves the store alone.

mod container;
mod context;
mod events;

pub use container::{
    CardV1, CauseV1, ContainerRowV1, EndV1, ExitStatusV1, LastV1, PhaseV1, ProcessV1, RemovingV1, RunV1, StartingV1,
    StopV1,
};
pub use context::{ActorV1, ContextV1};
pub use events::{
    CreateFailedV1, CreateRequestedV1, CreatedV1, ExitedV1, KilledV1, OomKilledV1, PauseFailedV1, PauseRequestedV1,
    PausedV1, RemoveFailedV1, RemoveRequestedV1, RemovedV1, RenamedV1, ResumeFailedV1, ResumeRequestedV1, ResumedV1,
    ShimAdoptedV1, ShimLostV1, StartFailedV1, StartRequestedV1, StartedV1, StopRequestedV1,
};
