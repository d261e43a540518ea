//! Removes a container: the resources of its runs, then its directory. Idempotent: may be repeated from any step.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::deadlines::{CLIENTS_PATIENCE, SHIM_PATIENCE};
use super::release::give_back;
use crate::cause::chain;
use crate::definition::DefinitionError;
use crate::domain::container::{Command, Phase};
use crate::domain::id::ContainerId;
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::Context;
use crate::records::Entity;
use crate::rootfs::{self, Mounts};

pub(super) async fn dismantle(effects: &Arc<ContainerEffects>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::REMOVE_AFTER_INTENT);
    let Some(entity) = effects.containers.get(&id) else { return };
    effects.supervisor.shim_left(&id, SHIM_PATIENCE).await;
    // Before any removal: a client may still read missed output in the log, and the end of a session cannot be recorded
    // after the removal.
    if !entity.sessions_ended(CLIENTS_PATIENCE).await {
        effects.node.warn(format!("container {}: it is removed before all of its clients have left", id.short()));
    }
    // Copies must not run beside the removal; one that begins after this point is refused.
    let outcome = match entity.root_access().exclusive(Duration::ZERO, "removed").await {
        Some(_alone) => remove(effects, &entity, context).await,
        None => Err("a copy of its files is under way and does not end".to_owned()),
    };
    let report = match outcome {
        Ok(()) => Command::ReportRemoved,
        Err(message) => Command::ReportRemoveFailed { message },
    };
    effects.containers.report(&id, context, report).await;
    failpoint::hit(failpoint::REMOVE_DONE);
}

async fn remove(effects: &Arc<ContainerEffects>, entity: &Arc<Entity>, context: &Context) -> Result<(), String> {
    let container = &entity.state;
    give_back(effects, container).await?;
    failpoint::hit(failpoint::REMOVE_RELEASED);
    if matches!(&container.phase, Phase::Removing(removing) if removing.volumes) {
        remove_volumes(effects, entity, context).await;
        failpoint::hit(failpoint::REMOVE_VOLUMES_GONE);
    }
    let bundle = effects.node.bundle(container);
    let path = bundle.path().to_owned();
    let removed = tokio::task::spawn_blocking(move || {
        rootfs::remove_tree(&path, Mounts::Detach)
            .map_err(|error| format!("cannot remove `{}`: {error}", path.display()))
    });
    removed.await.map_err(|panic| panic.to_string())??;
    failpoint::hit(failpoint::REMOVE_BUNDLE_GONE);
    Ok(())
}

/// Removes the anonymous volumes. Before the definition is removed, which alone names them.
async fn remove_volumes(effects: &Arc<ContainerEffects>, entity: &Arc<Entity>, context: &Context) {
    let (reader, read) = (effects.clone(), entity.clone());
    let id = entity.state.id;
    match tokio::task::spawn_blocking(move || reader.containers.definition(&read)).await {
        Ok(Ok(definition)) => effects.volumes.remove_with_container(id, &definition, context).await,
        // After an interrupted attempt the bundle may be gone, and the volumes were removed before it.
        Ok(Err(DefinitionError::Read { source, .. })) if source.kind() == io::ErrorKind::NotFound => {}
        Ok(Err(error)) => {
            effects.node.warn(format!("container {}: volumes of its own stay: {}", id.short(), chain(&error)))
        }
        Err(panic) => effects.node.warn(format!("container {}: volumes of its own stay: {panic}", id.short())),
    }
}
