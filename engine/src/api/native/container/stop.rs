//! Stop, restart and kill.

use std::time::Duration;

use super::ask::{AskedCommand, START_PATIENCE, ask};
use super::networks_released::networks_released;
use super::start::{outcome_of, started_by};
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::domain::container::{Command, Event, Run};
use crate::domain::id::{ContainerId, Signal};
use crate::journal::record::Context;
use crate::signals;

/// How long a process may take to end after SIGKILL, before the call fails.
const KILL_PATIENCE: Duration = Duration::from_secs(90);

impl Native {
    pub(super) async fn stop_container(
        &self,
        reference: &str,
        grace: Option<u32>,
        context: &Context,
    ) -> Result<(), ApiError> {
        let id = self.resolve(reference)?;
        let mut asked = ask(&self.engine, id, (Verb::Stop, reference), context, || Command::Stop {
            signal: None,
            grace,
            at: clock::now(),
        })
        .await?;
        self.await_exit(id, reference, &mut asked).await
    }

    pub(super) async fn restart_container(
        &self,
        reference: &str,
        grace: Option<u32>,
        context: &Context,
    ) -> Result<(), ApiError> {
        let id = self.resolve(reference)?;
        let boot = self.engine.boot;
        let mut asked = ask(&self.engine, id, (Verb::Restart, reference), context, || Command::Restart {
            grace,
            boot,
            at: clock::now(),
        })
        .await?;
        let start = match asked.events.iter().find_map(started_by) {
            Some(start) => start,
            None => {
                let patience = patience_of(&asked);
                let next = asked.until(patience, |event| match event {
                    Event::StartRequested { start, .. } => Some(Ok(*start)),
                    Event::StopRequested { then_start: false, .. } | Event::RemoveRequested { .. } => Some(Err(())),
                    _ => None,
                });
                match next.await {
                    Some(Ok(start)) => start,
                    Some(Err(())) => {
                        return Err(ApiError::failed(format!(
                            "the restart of {reference} gave way to a stop or removal"
                        )));
                    }
                    None => return Err(self.outlives_kill(id, reference)),
                }
            }
        };
        match asked.until(START_PATIENCE, |event| outcome_of(event, start)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(failure)) => Err(ApiError::Failed { message: failure.message }),
            None => Err(ApiError::Deadline { message: format!("the start of {reference} has no outcome yet") }),
        }
    }

    pub(in crate::api::native) async fn kill_container(
        &self,
        reference: &str,
        signal: &str,
        context: &Context,
    ) -> Result<(), ApiError> {
        let id = self.resolve(reference)?;
        let signal = match signal {
            "" => Signal::KILL,
            text => Signal(signals::parse(text).ok_or_else(|| ApiError::invalid(format!("Invalid signal: {text}")))?),
        };
        let mut asked = ask(&self.engine, id, (Verb::Kill, reference), context, || Command::Kill { signal }).await?;
        // Only SIGKILL ends a process for certain: then the end is waited for, as scripts expect.
        if signal == Signal::KILL { self.await_exit(id, reference, &mut asked).await } else { Ok(()) }
    }

    /// Waits for the exit of the container's present run, if it has one, and for the release of its networks.
    async fn await_exit(&self, id: ContainerId, reference: &str, asked: &mut AskedCommand) -> Result<(), ApiError> {
        let last = asked.container.as_ref().and_then(|container| container.last.as_ref()).map(|end| end.start);
        let Some(start) = run_of(asked).map(|run| run.start) else {
            // The last run may not be released yet.
            if let Some(start) = last {
                networks_released(&self.engine, id, start).await;
            }
            return Ok(());
        };
        let patience = patience_of(asked);
        let exited = |event: &Event| matches!(event, Event::Exited { start: of, .. } if *of == start).then_some(());
        asked.until(patience, exited).await.ok_or_else(|| self.outlives_kill(id, reference))?;
        networks_released(&self.engine, id, start).await;
        Ok(())
    }

    /// The error for a process that outlives SIGKILL, with the place in the kernel where it hangs.
    fn outlives_kill(&self, id: ContainerId, reference: &str) -> ApiError {
        let run = self.engine.containers.get(&id).and_then(|entity| entity.state.phase.run().cloned());
        let place = run.map(|run| kernel_place(run.process.pid)).unwrap_or_default();
        ApiError::Deadline { message: format!("Container {reference} did not end after SIGKILL{place}") }
    }
}

fn run_of(asked: &AskedCommand) -> Option<&Run> {
    asked.container.as_ref().and_then(|container| container.phase.run())
}

/// The rest of the grace period, and the time that SIGKILL may take.
fn patience_of(asked: &AskedCommand) -> Duration {
    let deadline = run_of(asked).and_then(|run| run.stop.as_ref()).map_or(0, |stop| stop.deadline.0);
    Duration::from_nanos(deadline.saturating_sub(clock::now().0)) + KILL_PATIENCE
}

fn kernel_place(pid: u32) -> String {
    let state = std::fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("State:").map(|state| state.trim().to_owned()))
    });
    let place = std::fs::read_to_string(format!("/proc/{pid}/wchan")).ok().filter(|place| !place.is_empty());
    match (state, place) {
        (Some(state), Some(place)) => format!(": process {pid} is in state {state}, waiting in {place}"),
        (Some(state), None) => format!(": process {pid} is in state {state}"),
        (None, _) => String::new(),
    }
}
