//! Delays the answer about the end of a run until its networks are released: its address and its ports are free then,
//! and no rule of the firewall leads to it.

use std::time::Duration;

use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;
use crate::records::Entity;

/// A plugin takes a part of a second. A hanging one is retried in the background, and delays no answer for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns at once for a container without networks.
pub(crate) async fn networks_released(engine: &Engine, id: ContainerId, start: StartId) {
    // By this start and by earlier ones.
    let free = |entity: &Entity| entity.state.networks.iter().all(|attachment| attachment.start.0 > start.0);
    if tokio::time::timeout(PATIENCE, engine.containers.wait_until(&id, free)).await.is_err() {
        tracing::warn!(container_id = %id.short(), "its end is answered before its networks are given back");
    }
}
