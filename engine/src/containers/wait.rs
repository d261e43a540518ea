//! Wait: answered with the end of the run, when the container does not run and its networks are released.

use super::ask::FOR_EVER;
use super::{AskedCommand, ContainerError, Target, networks_released};
use crate::domain::container::{End, Event, ExitStatus, Phase};
use crate::domain::id::StartId;
use crate::engine::Engine;

/// `None` for a container that never ran.
pub(crate) async fn wait(engine: &Engine, target: Target<'_>) -> Result<Option<End>, ContainerError> {
    let Some(end) = await_end(engine, target).await? else { return Ok(None) };
    networks_released(engine, target.id, end.start).await;
    Ok(Some(end))
}

async fn await_end(engine: &Engine, target: Target<'_>) -> Result<Option<End>, ContainerError> {
    let changes = engine.containers.listen(target.id);
    let container = target.entity(engine)?.state.clone();
    let (start, oom) = match &container.phase {
        Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => return Ok(container.last),
        Phase::Starting(starting) => (starting.start, false),
        Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => (run.start, run.oom),
        Phase::Removing(removing) => match &removing.run {
            Some(run) => (run.start, run.oom),
            None => return Ok(container.last),
        },
    };
    let mut listener = AskedCommand::listening(container, changes);
    let end = listener.until(FOR_EVER, ending(start, oom)).await;
    end.map(Some).ok_or(ContainerError::Stopping)
}

/// Picks the end of one start from the container's events. `oom`: a process of it was killed for want of memory before
/// these events.
pub(crate) fn ending(of: StartId, mut oom: bool) -> impl FnMut(&Event) -> Option<End> {
    move |event| match event {
        Event::OomKilled { start } if *start == of => {
            oom = true;
            None
        }
        Event::Exited { start, status, at } if *start == of => {
            Some(End { start: of, status: *status, started_at: None, at: *at, oom, error: None })
        }
        Event::StartFailed { start, code, message, at } if *start == of => Some(End {
            start: of,
            status: ExitStatus::Code(*code),
            started_at: None,
            at: *at,
            oom: false,
            error: Some(message.clone()),
        }),
        _ => None,
    }
}
