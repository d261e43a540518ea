//! Changes the limits of a running container. The new definition lies beside the old one; the runtime's request is
//! computed from both, so it may be repeated.

use std::sync::Arc;

use crate::cause::chain;
use crate::domain::container::{Command, Container, Update};
use crate::domain::id::ContainerId;
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::Context;
use crate::records::{Entity, to_reference};
use crate::spec;

pub(super) async fn update(effects: &Arc<ContainerEffects>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::UPDATE_AFTER_INTENT);
    let Some(entity) = effects.containers.get(&id) else { return };
    // An effect may run twice: the second time its update has an outcome.
    let Some(update) = entity.state.update else { return };
    let outcome = if lives(effects, &entity.state) { apply(effects, &entity, update).await } else { Ok(()) };
    failpoint::hit(failpoint::UPDATE_APPLIED);
    let report = match outcome {
        Ok(()) => Command::ReportUpdated,
        // A container that has ended meanwhile needs only the new definition.
        Err(_) if !lives(effects, &entity.state) => Command::ReportUpdated,
        Err(message) => Command::ReportUpdateFailed { message },
    };
    effects.containers.report_recorded(&id, context, report).await;
    // Otherwise the caller that waits for the outcome settles the definition.
    if let Some(_place) = entity.free_update_place() {
        let settling = effects.clone();
        let _ = tokio::task::spawn_blocking(move || settling.containers.settle_definition(&id)).await;
    }
    failpoint::hit(failpoint::UPDATE_DONE);
}

/// Whether the container is still in the same run. Its process may have ended before the exit is recorded.
fn lives(effects: &ContainerEffects, before: &Container) -> bool {
    let now = effects.containers.get(&before.id);
    let start = now.and_then(|entity| entity.state.phase.run().map(|run| run.start));
    before.phase.run().is_some_and(|run| Some(run.start) == start && !to_reference(run.process).ending())
}

async fn apply(effects: &Arc<ContainerEffects>, entity: &Arc<Entity>, update: Update) -> Result<(), String> {
    let limits = {
        let (effects, entity) = (effects.clone(), entity.clone());
        tokio::task::spawn_blocking(move || {
            let from = effects.containers.definition(&entity)?;
            let to = effects.containers.definition_of(&entity.state, &update.definition)?;
            let back = spec::change_limits(&to, &from, &effects.node.host);
            Ok::<_, crate::definition::DefinitionError>((spec::change_limits(&from, &to, &effects.node.host), back))
        })
    };
    let (forth, back) = limits.await.map_err(|panic| panic.to_string())?.map_err(|error| chain(&error))?;
    let container = &entity.state;
    let runtime = effects.node.runtime(&container.card.runtime).map_err(|error| chain(&error))?;
    let Some(instance) = effects.node.instance(container) else { return Ok(()) };
    let Err(error) = runtime.update(&instance, &forth.json).await else { return Ok(()) };
    // Some limits may have been changed before the one that failed: they are changed back.
    if let Err(error) = runtime.update(&instance, &back.json).await
        && lives(effects, container)
    {
        effects.node.warn(format!(
            "container {}: its limits may be a mixture of old and new ones: {}",
            container.id.short(),
            chain(&error)
        ));
    }
    Err(chain(&error))
}
