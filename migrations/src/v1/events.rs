//! The events of a container, each as its own shape. `start` is the stream version of the `StartRequested` it belongs to.

use serde::{Deserialize, Serialize};

use super::container::{CardV1, ExitStatusV1, ProcessV1};

/// Structs with the derives that every stored shape has.
macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $(pub $field: $type,)*
        }
    )*};
}

shapes! {
    /// The container's id is its stream's.
    CreateRequestedV1 { card: CardV1 }
    CreatedV1 {}
    CreateFailedV1 { message: String }
    StartRequestedV1 { start: u64, boot: [u8; 16], at: u64 }
    StartedV1 { start: u64, process: ProcessV1, shim: Option<ProcessV1>, at: u64 }
    StartFailedV1 { start: u64, code: u8, message: String, at: u64 }
    PauseRequestedV1 {}
    PausedV1 {}
    PauseFailedV1 { message: String }
    ResumeRequestedV1 {}
    ResumedV1 {}
    ResumeFailedV1 { message: String }
    StopRequestedV1 { start: u64, signal: i32, deadline: u64, then_start: bool }
    KilledV1 { start: u64, signal: i32 }
    ExitedV1 { start: u64, status: ExitStatusV1, at: u64 }
    OomKilledV1 { start: u64 }
    RenamedV1 { from: String, to: String }
    ShimLostV1 { start: u64 }
    ShimAdoptedV1 { start: u64, shim: ProcessV1 }
    RemoveRequestedV1 { force: bool }
    RemoveFailedV1 { message: String }
    RemovedV1 {}
}
