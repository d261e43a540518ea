//! The events of a container, each with its own shape. `start` is the stream version of the `StartRequested` it
//! belongs to; times are nanoseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use super::container::{CardV1, ExitStatusV1, HealthV1, ProcessV1, RestartPolicyV1};

/// Defines structs with the derives of every stored shape.
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
    CreatedV1 { card: CardV1 }
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
    UpdateRequestedV1 { definition: [u8; 32], restart: RestartPolicyV1 }
    UpdatedV1 {}
    UpdateFailedV1 { message: String }
    /// `start` is the run that has ended.
    RestartScheduledV1 { start: u64, attempt: u32, due: u64 }
    RestartCancelledV1 { start: u64 }
    HealthChangedV1 { start: u64, health: HealthV1 }
    /// `argv` is shortened, or the program alone.
    ExecStartedV1 { start: u64, exec: [u8; 8], argv: String, user: String, tty: bool, detached: bool }
    ExecExitedV1 { exec: [u8; 8], status: ExitStatusV1, at: u64, lasted_ms: u64 }
    AttachedV1 { session: [u8; 8], stdin: bool, tty: bool }
    DetachedV1 { session: [u8; 8], lasted_ms: u64 }
    /// The addresses have their prefixes: "10.1.0.2/16".
    NetworkAttachedV1 { start: u64, network: String, addresses: Vec<String> }
    NetworkDetachedV1 { start: u64 }
    /// `volumes`: its anonymous volumes are removed too.
    RemoveRequestedV1 { force: bool, volumes: bool }
    RemoveFailedV1 { message: String }
    RemovedV1 {}
}
