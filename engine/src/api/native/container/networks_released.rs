//! Delays the answer about the end of a run until its networks are released: its address and its ports are free then,
//! and no rule of the firewall leads to it.

use std::time::Duration;

use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;

/// A plugin takes a part of a second. A hanging one is retried in the background, and delays no answer for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns at once for a container without networks.
pub(in crate::api::native) async fn networks_released(engine: &Engine, id: ContainerId, start: StartId) {
    if tokio::time::timeout(PATIENCE, engine.containers.detached(&id, start)).await.is_err() {
        tracing::warn!(container_id = %id.short(), "its end is answered before its networks are given back");
    }
}
