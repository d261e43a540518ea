//! Pauses and resumes. A container that is already in the wanted state is a success: an effect may run twice.

use std::sync::Arc;

use crate::domain::container::Command;
use crate::domain::id::ContainerId;
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::Context;
use crate::runtime::RuntimeError;

pub(super) async fn freeze(effects: &Arc<ContainerEffects>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::PAUSE_AFTER_INTENT);
    let outcome = switch(effects, id, true).await;
    failpoint::hit(failpoint::PAUSE_FROZEN);
    let report = match outcome {
        Ok(()) => Command::ReportPaused,
        Err(error) => Command::ReportPauseFailed { message: crate::cause::chain(&error) },
    };
    effects.containers.report(&id, context, report).await;
}

pub(super) async fn thaw(effects: &Arc<ContainerEffects>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::RESUME_AFTER_INTENT);
    let outcome = switch(effects, id, false).await;
    failpoint::hit(failpoint::RESUME_THAWED);
    let report = match outcome {
        Ok(()) => Command::ReportResumed,
        Err(error) => Command::ReportResumeFailed { message: crate::cause::chain(&error) },
    };
    effects.containers.report(&id, context, report).await;
}

async fn switch(effects: &Arc<ContainerEffects>, id: ContainerId, freeze: bool) -> Result<(), RuntimeError> {
    let Some(entity) = effects.containers.get(&id) else { return Ok(()) };
    let container = &entity.state;
    let runtime = effects.node.runtime(&container.card.runtime)?;
    let Some(instance) = effects.node.instance(container) else { return Ok(()) };
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
