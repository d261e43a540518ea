//! Pauses and resumes. A container that is already in the wanted state is a success: an effect may run twice.

use std::sync::Arc;

use crate::domain::container::Command;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::runtime::RuntimeError;

pub(super) async fn freeze(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::PAUSE_AFTER_INTENT);
    let outcome = switch(engine, id, true).await;
    failpoint::hit(failpoint::PAUSE_FROZEN);
    let report = match outcome {
        Ok(()) => Command::ReportPaused,
        Err(error) => Command::ReportPauseFailed { message: crate::cause::chain(&error) },
    };
    engine.containers.report(&id, context, report).await;
}

pub(super) async fn thaw(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::RESUME_AFTER_INTENT);
    let outcome = switch(engine, id, false).await;
    failpoint::hit(failpoint::RESUME_THAWED);
    let report = match outcome {
        Ok(()) => Command::ReportResumed,
        Err(error) => Command::ReportResumeFailed { message: crate::cause::chain(&error) },
    };
    engine.containers.report(&id, context, report).await;
}

async fn switch(engine: &Arc<Engine>, id: ContainerId, freeze: bool) -> Result<(), RuntimeError> {
    let Some(entity) = engine.containers.get(&id) else { return Ok(()) };
    let container = &entity.state;
    let runtime = engine.node.runtime(&container.card.runtime)?;
    let Some(instance) = engine.node.instance(container) else { return Ok(()) };
    let outcome = if freeze { runtime.pause(&instance).await } else { runtime.resume(&instance).await };
    match outcome {
        // A runtime that was killed at its deadline may have done its work all the same.
        Err(error @ (RuntimeError::Failed { .. } | RuntimeError::Deadline { .. })) => {
            let wanted = if freeze { "paused" } else { "running" };
            match runtime.state(&instance).await {
                Ok(Some(found)) if found.status == wanted => Ok(()),
                _ => Err(error),
            }
        }
        other => other,
    }
}
