//! Removing a container: what its runs have used, then its directory. May be repeated from anywhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::release::give_back;
use super::volumes;
use crate::cause::chain;
use crate::containers::Entity;
use crate::definition::DefinitionError;
use crate::domain::container::{Command, Phase};
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::rootfs::{self, Mounts};

/// How long the ends of attached clients may take to be recorded, and they to read what they have missed in the log of a
/// container that removes itself.
const CLIENTS_PATIENCE: Duration = Duration::from_secs(20);

pub async fn dismantle(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::REMOVE_AFTER_INTENT);
    let Some(entity) = engine.containers.get(&id) else { return };
    engine.supervisor.shim_left(&id, Duration::from_secs(60)).await;
    // Before anything goes: a client may still read in the log what it has missed, and what is told after the removal is lost.
    if !entity.unattended(CLIENTS_PATIENCE).await {
        engine.warn(format!("container {}: it is removed before all of its clients have left", id.short()));
    }
    // Whoever copies what is to be removed has come too late.
    let outcome = match entity.still().alone(Duration::ZERO, "removed").await {
        Some(_alone) => remove(engine, &entity, context).await,
        None => Err("a copy of its files is under way and does not end".to_owned()),
    };
    let report = match outcome {
        Ok(()) => Command::ReportRemoved,
        Err(message) => Command::ReportRemoveFailed { message },
    };
    engine.containers.report(&id, context, report).await;
    failpoint::hit(failpoint::REMOVE_DONE);
}

async fn remove(engine: &Arc<Engine>, entity: &Arc<Entity>, context: &Context) -> Result<(), String> {
    let container = &entity.state;
    give_back(engine, container).await?;
    failpoint::hit(failpoint::REMOVE_RELEASED);
    if matches!(&container.phase, Phase::Removing(removing) if removing.volumes) {
        remove_volumes(engine, entity, context).await;
        failpoint::hit(failpoint::REMOVE_VOLUMES_GONE);
    }
    let bundle = engine.bundle(container);
    let path = bundle.path().to_owned();
    let removed = tokio::task::spawn_blocking(move || {
        rootfs::remove_tree(&path, Mounts::Detach)
            .map_err(|error| format!("cannot remove `{}`: {error}", path.display()))
    });
    removed.await.map_err(|panic| panic.to_string())??;
    failpoint::hit(failpoint::REMOVE_BUNDLE_GONE);
    Ok(())
}

/// Before the definition goes, which alone tells what they are.
async fn remove_volumes(engine: &Arc<Engine>, entity: &Arc<Entity>, context: &Context) {
    let (of, read) = (engine.clone(), entity.clone());
    let id = entity.state.id;
    match tokio::task::spawn_blocking(move || of.definition(&read)).await {
        Ok(Ok(definition)) => volumes::remove_anonymous(engine, id, &definition, context).await,
        // After an interrupted attempt the bundle is gone, and with it, before it, the volumes.
        Ok(Err(DefinitionError::Read { source, .. })) if source.kind() == io::ErrorKind::NotFound => {}
        Ok(Err(error)) => engine.warn(format!("container {}: volumes of its own stay: {}", id.short(), chain(&error))),
        Err(panic) => engine.warn(format!("container {}: volumes of its own stay: {panic}", id.short())),
    }
}
