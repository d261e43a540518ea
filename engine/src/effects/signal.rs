//! Signals to a container's first process, always through a pidfd after its start time was compared.

use std::io;
use std::sync::Arc;

use isulad_shim::sys::pidfd::PidFd;

use super::Effect;
use crate::clock;
use crate::domain::container::{Command, Run};
use crate::domain::id::{ContainerId, Process, Signal, StartId, Timestamp};
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::Context;
use crate::records::to_reference;

/// Sends a signal. A process that is gone is no error: its exit is reported elsewhere.
pub(super) fn deliver(process: Process, signal: Signal) -> io::Result<()> {
    match PidFd::open(to_reference(process)).and_then(|pidfd| pidfd.send_signal(signal.0)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn signal(effects: &Arc<ContainerEffects>, id: ContainerId, run: &Run, signal: Signal, context: &Context) {
    failpoint::hit(failpoint::STOP_AFTER_INTENT);
    if let Err(error) = deliver(run.process, signal) {
        effects.node.warn(format!("container {}: cannot send signal {}: {error}", id.short(), signal.0));
    }
    failpoint::hit(if signal == Signal::KILL { failpoint::STOP_KILLED } else { failpoint::STOP_SIGNALLED });
    if signal == Signal::KILL {
        effects.enqueue(id, Effect::ThawKilled { start: run.start }, context);
    }
}

/// Thaws a killed container: a frozen process receives SIGKILL only when it is thawed (cgroup v1). Queued among the
/// effects: a runtime that is asked after the release would make its directory anew.
pub(super) async fn thaw_killed(effects: &Arc<ContainerEffects>, id: ContainerId, start: StartId) {
    let Some(entity) = effects.containers.get(&id) else { return };
    let container = &entity.state;
    let over = container.phase.run().is_none_or(|run| run.start != start);
    if over || effects.containers.frozen(container) == Some(false) {
        return;
    }
    let Ok(runtime) = effects.node.runtime(&container.card.runtime) else { return };
    let instance = effects.node.instance_of(container, start);
    if let Ok(Some(found)) = runtime.state(&instance).await
        && found.status == "paused"
        && let Err(error) = runtime.resume(&instance).await
    {
        effects.node.warn(format!(
            "container {}: cannot thaw it to end it: {}",
            id.short(),
            crate::cause::chain(&error)
        ));
    }
}

/// Waits until the deadline of a stop, and reports that it has passed.
pub(super) async fn stop_timer(
    effects: &Arc<ContainerEffects>,
    id: ContainerId,
    start: StartId,
    deadline: Timestamp,
    context: &Context,
) {
    let left = deadline.0.saturating_sub(clock::now().0);
    tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
    // A later stop or restart has a timer of its own.
    let stop = effects.containers.get(&id).and_then(|entity| entity.state.phase.run()?.stop.clone());
    if stop.is_some_and(|stop| stop.deadline == deadline) {
        effects.containers.report(&id, context, Command::StopDeadlinePassed { start }).await;
    }
}
