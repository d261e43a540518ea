//! The actor of an event and its subject, stored in front of every event's own fields.

use serde::{Deserialize, Serialize};

/// Name and image are included so that an event can be read on its own, long after its container was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextV1 {
    pub actor: ActorV1,
    pub operation: [u8; 8],
    pub name: String,
    pub image: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorV1 {
    Peer { uid: u32, pid: u32, exe: String },
    RestartPolicy,
    Recovery,
    Engine,
}
