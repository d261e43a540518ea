//! Events. Times are nanoseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use super::{CardV3, HealthV1, RestartPolicyV1};
use crate::v1::ExitStatusV1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequestedV3 {
    pub card: CardV3,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRequestedV1 {
    pub definition: [u8; 32],
    pub restart: RestartPolicyV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatedV1 {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateFailedV1 {
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartScheduledV1 {
    /// The one that has ended.
    pub start: u64,
    pub attempt: u32,
    pub due: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartCancelledV1 {
    pub start: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChangedV1 {
    pub start: u64,
    pub health: HealthV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStartedV1 {
    pub start: u64,
    pub exec: [u8; 8],
    /// Cut, or the program alone.
    pub argv: String,
    pub user: String,
    pub tty: bool,
    pub detached: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExitedV1 {
    pub exec: [u8; 8],
    pub status: ExitStatusV1,
    pub at: u64,
    pub lasted_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedV1 {
    pub session: [u8; 8],
    pub stdin: bool,
    pub tty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachedV1 {
    pub session: [u8; 8],
    pub lasted_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachedV1 {
    pub start: u64,
    pub network: String,
    /// With their prefixes: "10.1.0.2/16".
    pub addresses: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDetachedV1 {
    pub start: u64,
}
