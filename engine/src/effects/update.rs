//! Changes the limits of a running container. The new definition lies beside the old one; the runtime's request is
//! computed from both, so it may be repeated.

use std::sync::Arc;

use crate::cause::chain;
use crate::domain::container::{Command, Container, Update};
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::records::{Entity, to_reference};
use crate::spec;

pub(super) async fn update(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::UPDATE_AFTER_INTENT);
    let Some(entity) = engine.containers.get(&id) else { return };
    // An effect may run twice: the second time its update has an outcome.
    let Some(update) = entity.state.update else { return };
    let outcome = if lives(engine, &entity.state) { apply(engine, &entity, update).await } else { Ok(()) };
    failpoint::hit(failpoint::UPDATE_APPLIED);
    let report = match outcome {
        Ok(()) => Command::ReportUpdated,
        // A container that has ended meanwhile needs only the new definition.
        Err(_) if !lives(engine, &entity.state) => Command::ReportUpdated,
        Err(message) => Command::ReportUpdateFailed { message },
    };
    engine.containers.report_recorded(&id, context, report).await;
    // Otherwise the caller that waits for the outcome settles the definition.
    if let Some(_place) = entity.free_update_place() {
        let settling = engine.clone();
        let _ = tokio::task::spawn_blocking(move || settling.containers.settle_definition(&id)).await;
    }
    failpoint::hit(failpoint::UPDATE_DONE);
}

/// Whether the container is still in the same run. Its process may have ended before the exit is recorded.
fn lives(engine: &Engine, before: &Container) -> bool {
    let now = engine.containers.get(&before.id);
    let start = now.and_then(|entity| entity.state.phase.run().map(|run| run.start));
    before.phase.run().is_some_and(|run| Some(run.start) == start && !to_reference(run.process).ending())
}

async fn apply(engine: &Arc<Engine>, entity: &Arc<Entity>, update: Update) -> Result<(), String> {
    let limits = {
        let (engine, entity) = (engine.clone(), entity.clone());
        tokio::task::spawn_blocking(move || {
            let from = engine.containers.definition(&entity)?;
            let to = engine.containers.definition_of(&entity.state, &update.definition)?;
            let back = spec::change_limits(&to, &from, &engine.node.host);
            Ok::<_, crate::definition::DefinitionError>((spec::change_limits(&from, &to, &engine.node.host), back))
        })
    };
    let (forth, back) = limits.await.map_err(|panic| panic.to_string())?.map_err(|error| chain(&error))?;
    let container = &entity.state;
    let runtime = engine.node.runtime(&container.card.runtime).map_err(|error| chain(&error))?;
    let Some(instance) = engine.node.instance(container) else { return Ok(()) };
    let Err(error) = runtime.update(&instance, &forth.json).await else { return Ok(()) };
    // Some limits may have been changed before the one that failed: they are changed back.
    if let Err(error) = runtime.update(&instance, &back.json).await
        && lives(engine, container)
    {
        engine.node.warn(format!(
            "container {}: its limits may be a mixture of old and new ones: {}",
            container.id.short(),
            chain(&error)
        ));
    }
    Err(chain(&error))
}
