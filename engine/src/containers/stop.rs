//! Stop and kill: answered when the run has ended and its networks are released.

use std::sync::Arc;
use std::time::Duration;

use super::{AskedCommand, ContainerError, Target, Verb, networks_released};
use crate::clock;
use crate::domain::container::{Command, Event, Run};
use crate::domain::id::Signal;
use crate::engine::Engine;
use crate::journal::record::Context;

/// How long a process may take to end after SIGKILL, before the call fails.
const KILL_PATIENCE: Duration = Duration::from_secs(90);

/// Ends the run within `grace` seconds, which default to the container's own; 0 is SIGKILL at once.
pub(crate) async fn stop(
    engine: &Arc<Engine>,
    target: Target<'_>,
    grace: Option<u32>,
    context: &Context,
) -> Result<(), ContainerError> {
    let command = || vec![Command::Stop { signal: None, grace, at: clock::now() }];
    let mut asked = AskedCommand::ask(&engine.containers, target, Verb::Stop, context, command).await?;
    await_exit(engine, target, &mut asked).await
}

/// Sends a signal. Only SIGKILL ends a process for certain: then the end is waited for, as scripts expect.
pub(crate) async fn kill(
    engine: &Arc<Engine>,
    target: Target<'_>,
    signal: Signal,
    context: &Context,
) -> Result<(), ContainerError> {
    let command = || vec![Command::Kill { signal }];
    let mut asked = AskedCommand::ask(&engine.containers, target, Verb::Kill, context, command).await?;
    if signal == Signal::KILL { await_exit(engine, target, &mut asked).await } else { Ok(()) }
}

/// Waits for the exit of the container's present run, if it has one, and for the release of its networks.
async fn await_exit(engine: &Engine, target: Target<'_>, asked: &mut AskedCommand) -> Result<(), ContainerError> {
    let last = asked.container.as_ref().and_then(|container| container.last.as_ref()).map(|end| end.start);
    let Some(start) = run_of(asked).map(|run| run.start) else {
        // The last run may not be released yet.
        if let Some(start) = last {
            networks_released(engine, target.id, start).await;
        }
        return Ok(());
    };
    let patience = patience_of(asked);
    let exited = |event: &Event| matches!(event, Event::Exited { start: of, .. } if *of == start).then_some(());
    asked.until(patience, exited).await.ok_or_else(|| outlives_kill(engine, target))?;
    networks_released(engine, target.id, start).await;
    Ok(())
}

/// The error for a process that outlives SIGKILL, with the place in the kernel where it hangs.
pub(super) fn outlives_kill(engine: &Engine, target: Target<'_>) -> ContainerError {
    let run = engine.containers.get(&target.id).and_then(|entity| entity.state.phase.run().cloned());
    let place = run.map(|run| kernel_place(run.process.pid)).unwrap_or_default();
    ContainerError::OutlivesKill { reference: target.reference.to_owned(), place }
}

fn run_of(asked: &AskedCommand) -> Option<&Run> {
    asked.container.as_ref().and_then(|container| container.phase.run())
}

/// The rest of the grace period, and the time that SIGKILL may take.
pub(super) fn patience_of(asked: &AskedCommand) -> Duration {
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
