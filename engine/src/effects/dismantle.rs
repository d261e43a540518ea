//! Removing a container: what its runs have used, then its directory. May be repeated from anywhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::release::give_back;
use crate::domain::container::{Command, Container};
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;

pub async fn dismantle(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::REMOVE_AFTER_INTENT);
    let Some(entity) = engine.containers.get(&id) else { return };
    engine.supervisor.shim_left(&id, Duration::from_secs(60)).await;
    let outcome = remove(engine, &entity.container).await;
    let report = match outcome {
        Ok(()) => Command::ReportRemoved,
        Err(message) => Command::ReportRemoveFailed { message },
    };
    engine.report(id, context, report).await;
    failpoint::hit(failpoint::REMOVE_DONE);
}

async fn remove(engine: &Arc<Engine>, container: &Container) -> Result<(), String> {
    give_back(engine, container).await?;
    failpoint::hit(failpoint::REMOVE_RELEASED);
    let bundle = engine.bundle(container);
    let path = bundle.path().to_owned();
    let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| format!("cannot remove `{}`: {error}", path.display())),
    });
    removed.await.map_err(|panic| panic.to_string())??;
    failpoint::hit(failpoint::REMOVE_BUNDLE_GONE);
    Ok(())
}

/// Undoes a creation: nothing ran, so only the bundle is there.
pub async fn discard(engine: &Arc<Engine>, id: ContainerId) {
    let Some(entity) = engine.containers.get(&id) else { return };
    let bundle = engine.bundle(&entity.container);
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(bundle.path())).await;
    if let Ok(Err(error)) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        engine.warn(format!("container {}: cannot remove its directory: {error}", id.short()));
    }
}
