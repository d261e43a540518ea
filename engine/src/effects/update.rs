//! Changing the limits of a running container. The new definition lies beside the old one; what the runtime is told follows
//! from both, so it may be told again from anywhere.

use std::sync::Arc;

use crate::cause::chain;
use crate::containers::Entity;
use crate::domain::container::{Command, Container, Update};
use crate::domain::id::ContainerId;
use crate::effects::to_reference;
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
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
        // Of what has ended meanwhile, the definition is all there is to be changed.
        Err(_) if !lives(engine, &entity.state) => Command::ReportUpdated,
        Err(message) => Command::ReportUpdateFailed { message },
    };
    engine.containers.report_recorded(&id, context, report).await;
    // Whoever waits for the outcome does it otherwise.
    if let Some(_place) = entity.free_update_place() {
        let of = engine.clone();
        let _ = tokio::task::spawn_blocking(move || of.settle_definition(&id)).await;
    }
    failpoint::hit(failpoint::UPDATE_DONE);
}

/// Whether the container is in the run that it was in. Its process may have ended before the exit is recorded.
fn lives(engine: &Engine, before: &Container) -> bool {
    let now = engine.containers.get(&before.id);
    let start = now.and_then(|entity| entity.state.phase.run().map(|run| run.start));
    before.phase.run().is_some_and(|run| Some(run.start) == start && to_reference(run.process).alive())
}

async fn apply(engine: &Arc<Engine>, entity: &Arc<Entity>, update: Update) -> Result<(), String> {
    let limits = {
        let (engine, entity) = (engine.clone(), entity.clone());
        tokio::task::spawn_blocking(move || {
            let from = engine.definition(&entity)?;
            let to = engine.definition_of(&entity.state, &update.definition)?;
            let back = spec::change_limits(&to, &from, &engine.host);
            Ok::<_, crate::definition::DefinitionError>((spec::change_limits(&from, &to, &engine.host), back))
        })
    };
    let (forth, back) = limits.await.map_err(|panic| panic.to_string())?.map_err(|error| chain(&error))?;
    let container = &entity.state;
    let runtime = engine.runtime(&container.card.runtime).map_err(|error| chain(&error))?;
    let Some(instance) = engine.instance(container) else { return Ok(()) };
    let Err(error) = runtime.update(&instance, &forth.json).await else { return Ok(()) };
    // Some of the limits may have been changed before the one that cannot be.
    if let Err(error) = runtime.update(&instance, &back.json).await
        && lives(engine, container)
    {
        engine.warn(format!(
            "container {}: its limits may be a mixture of old and new ones: {}",
            container.id.short(),
            chain(&error)
        ));
    }
    Err(chain(&error))
}
