//! Wait: answered with the end of the run, when the container does not run and its networks are released.

use cri_api::isula::v1::ExitStatus;

use super::ask::{AskedCommand, FOR_EVER};
use super::exit_status;
use super::networks_released::networks_released;
use crate::api::native::{ApiError, Native};
use crate::domain::container::{self, End, Event, Phase};
use crate::domain::id::{ContainerId, StartId};

impl Native {
    /// `None` for a container that never ran.
    pub(super) async fn wait_container(&self, reference: &str) -> Result<Option<ExitStatus>, ApiError> {
        let id = self.resolve(reference)?;
        let Some(end) = self.await_end(id, reference).await? else { return Ok(None) };
        networks_released(&self.engine, id, end.start).await;
        Ok(Some(exit_status(&end)))
    }

    async fn await_end(&self, id: ContainerId, reference: &str) -> Result<Option<End>, ApiError> {
        let changes = self.engine.containers.listen(id);
        let entity = self
            .engine
            .containers
            .get(&id)
            .ok_or_else(|| ApiError::NoSuchContainer { reference: reference.to_owned() })?;
        let container = entity.state.clone();
        let start = match &container.phase {
            Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => {
                return Ok(container.last);
            }
            Phase::Removing(removing) if removing.run.is_none() => {
                return Ok(container.last);
            }
            Phase::Starting(starting) => starting.start,
            Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => run.start,
            Phase::Removing(removing) => match &removing.run {
                Some(run) => run.start,
                None => return Ok(container.last),
            },
        };
        let mut listener = AskedCommand::listening(Some(container), changes);
        let end = listener.until(FOR_EVER, ending(start)).await;
        end.map(Some).ok_or_else(|| ApiError::failed("the daemon is stopping"))
    }
}

/// Picks the end of one start from the container's events.
pub(in crate::api::native) fn ending(of: StartId) -> impl FnMut(&Event) -> Option<End> {
    let mut oom = false;
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
            status: container::ExitStatus::Code(*code),
            started_at: None,
            at: *at,
            oom: false,
            error: Some(message.clone()),
        }),
        _ => None,
    }
}
