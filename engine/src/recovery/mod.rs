//! Recovery after a start of the daemon: every container is compared with the world, and interrupted operations are
//! finished or undone. Reads are served meanwhile; every step has a deadline of its own, and containers are recovered
//! independently of one another.

mod boot;
mod catch_up;
mod history;
mod networks;
mod observe;
mod rebuild;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use isulad_shim::sys::pidfd::PidFd;
use tokio::sync::Semaphore;

use crate::cause::chain;
use crate::clock;
use crate::domain::container::{Command, Container, Phase, Step, recover};
use crate::domain::id::{ContainerId, Signal, StartId};
use crate::effects::{self, Effect};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::recent::Recent;
use crate::journal::record::{Actor, Context};
use crate::node::Trust;
use crate::panics::contained;
use crate::records::{candidates, to_reference};

/// Containers recovered at once: enough to hide waiting, few enough to leave the machine to the containers.
const PARALLEL: usize = 32;

/// Compares every container that was loaded, then sweeps orphaned mounts, directories and records.
pub(crate) async fn run(engine: &Arc<Engine>) {
    let begun = Instant::now();
    if engine.node.trust() != Trust::ReadOnly {
        boot::remove_stale_pids(engine).await;
    }
    match engine.node.trust() {
        Trust::Whole => {}
        Trust::Partial => rebuild::rebuild(engine).await,
        Trust::ReadOnly => {
            for (id, _) in engine.containers.snapshot().iter() {
                engine.containers.mark_verified(id);
            }
            engine.networks.set_known();
            return engine.images.recover().await;
        }
    }
    // The end of a damaged store may be lost, and an intent may concern a volume that was made anew since: later starts
    // must know that too.
    if engine.node.trust() == Trust::Partial {
        engine.volumes.note_removals_in_doubt().await;
    }
    // Takes long for large data, and no container waits for it.
    if engine.node.trust() == Trust::Whole {
        engine.node.tasks.spawn({
            let volumes = engine.volumes.clone();
            async move { volumes.finish_removals().await }
        });
    }
    networks::remember(engine).await;
    // Beside the containers, which do not depend on the images' files.
    let images = engine.node.tasks.spawn({
        let images = engine.images.clone();
        async move { contained(images.recover()).await }
    });
    let recent = Arc::new(recent(engine).await);
    let places = Arc::new(Semaphore::new(PARALLEL));
    let mut tasks = tokio::task::JoinSet::new();
    let mut count = 0_usize;
    for entity in engine.containers.snapshot().values().filter(|entity| !entity.verified) {
        count += 1;
        let (engine, places, recent, id) = (engine.clone(), places.clone(), recent.clone(), entity.state.id);
        tasks.spawn(async move {
            let _place = places.acquire().await;
            contained(recover_one(&engine, id, &recent)).await;
            engine.containers.mark_verified(&id);
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            engine.node.warn(format!("the recovery of a container ended abnormally: {error}"));
        }
    }
    if let Err(error) = images.await {
        engine.node.warn(format!("the recovery of images ended abnormally: {error}"));
    }
    tracing::info!(containers = count, took_ms = begun.elapsed().as_millis() as u64, "all containers are verified");
    if engine.node.trust() == Trust::Whole {
        sweep::sweep(engine).await;
    } else {
        engine.node.warn("what belongs to no container is left alone, since the store is not whole".to_owned());
    }
}

/// Whether there are directories of containers. A directory that cannot be listed may hold some.
pub(crate) fn has_containers(root: &Path) -> bool {
    candidates(root).whole().map_or(true, |found| !found.is_empty())
}

async fn recent(engine: &Arc<Engine>) -> Recent {
    let read = {
        let engine = engine.clone();
        move || {
            Recent::read(&engine.journal, engine.node.boot, |error| {
                engine.node.warn(format!("what was begun before is not known in full: {}", chain(error)));
            })
        }
    };
    let reading = tokio::task::spawn_blocking(read);
    reading.await.unwrap_or_else(|panic| {
        engine.node.warn(format!("what was begun before is not known: {panic}"));
        Recent::default()
    })
}

async fn recover_one(engine: &Arc<Engine>, id: ContainerId, recent: &Recent) {
    let context = Context::new(Actor::Recovery);
    // No session is newer than these: attaching waits until the container is verified. First, for later steps may
    // remove the container.
    for (session, lasted_ms) in recent.attached(&id) {
        engine.containers.report_recorded(&id, &context, Command::ReportDetached { session, lasted_ms }).await;
        failpoint::hit(failpoint::ATTACH_END_RECOVERED);
    }
    let Some(entity) = engine.containers.get(&id) else { return };
    if !catch_up::catch_up(engine, &entity.state, &context).await {
        return;
    }
    // A crash may have come between the record of an update and its definition, or the other way round.
    let settling = tokio::task::spawn_blocking({
        let engine = engine.clone();
        move || engine.containers.settle_definition(&id)
    });
    let _ = settling.await;
    let Some(entity) = engine.containers.get(&id) else { return };
    let container = entity.state.clone();
    engine.execs.recover(&container, recent).await;
    let seen = observe::observe(engine, &container).await;
    let steps = recover(&container, &seen);
    if !quiet(&steps) {
        tracing::info!(container_id = %id.short(), phase = container.phase.word(), ?steps, "recovering");
    }
    // A recorded exit enqueues its own release, before the effects that follow it: a second release could come too
    // late.
    let ended = steps.iter().any(|step| matches!(step, Step::Report(Command::ReportExit { .. })));
    for step in steps {
        if !(ended && step == Step::Release) {
            take(engine, id, &container, step, &context).await;
        }
    }
}

/// Whether the container did not change while the daemon was away.
fn quiet(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Release | Step::Reattach | Step::ResumeRestart { .. }))
}

async fn take(engine: &Arc<Engine>, id: ContainerId, container: &Container, step: Step, context: &Context) {
    match step {
        // Recorded before the next step, which depends on it.
        Step::Report(command) => engine.containers.report_recorded(&id, context, command).await,
        Step::AwaitLaunch { start } => {
            // Not waited for: it may take as long as the runtime does.
            let (engine, context) = (engine.clone(), context.clone());
            tokio::spawn(async move { effects::await_launch(&engine.effects, id, start, &context).await });
        }
        Step::UndoStart { start, message } => {
            effects::undo_start(&engine.effects, container).await;
            let failed = Command::ReportStartFailed { start, code: 125, message, at: clock::now() };
            engine.containers.report(&id, context, failed).await;
        }
        Step::Reattach => reattach(engine, id, context).await,
        // The recorded `ShimLost` has enqueued the adoption, unless the last daemon recorded it.
        Step::Adopt => {
            if let Some(run) = container.phase.run().filter(|run| run.shim.is_none()) {
                engine.effects.enqueue(id, Effect::Adopt { start: run.start }, context);
            } else if let Phase::Starting(starting) = &container.phase {
                engine.effects.enqueue(id, Effect::Adopt { start: starting.start }, context);
            }
        }
        Step::ResumeStop => resume_stop(engine, id, context),
        Step::Kill => {
            if let Some(run) = container.phase.run() {
                let kill = Effect::Signal { run: Box::new(run.clone()), signal: Signal::KILL };
                engine.effects.enqueue(id, kill, context);
            }
        }
        Step::ResumeUpdate => engine.effects.enqueue(id, Effect::Update, context),
        Step::ResumeRestart { start, due } => engine.effects.enqueue(id, Effect::RestartTimer { start, due }, context),
        Step::Release => effects::release(&engine.effects, id).await,
        Step::Dismantle => engine.effects.enqueue(id, Effect::Dismantle, context),
    }
}

/// Watches a living container again.
async fn reattach(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    let Some(entity) = engine.containers.get(&id) else { return };
    let container = &entity.state;
    let Some(run) = container.phase.run() else { return };
    let pidfd = PidFd::open(to_reference(run.process)).ok();
    let fifo = engine.node.state_dir(container).open_exit_fifo();
    // Checked after the FIFO was opened: only then does the FIFO show a later end of the shim.
    let shim_lives = run.shim.is_some_and(|shim| to_reference(shim).alive());
    match fifo {
        Ok(fifo) if shim_lives => engine.supervisor.supervise(id, run.start, fifo, pidfd),
        _ => lost_meanwhile(engine, id, run.start, pidfd, context).await,
    }
}

/// Reports a shim that ended between the observation and now: with an exit record, or without.
async fn lost_meanwhile(
    engine: &Arc<Engine>,
    id: ContainerId,
    start: StartId,
    pidfd: Option<PidFd>,
    context: &Context,
) {
    let Some(entity) = engine.containers.get(&id) else { return };
    if let Some(found) = engine.supervisor.exit_record(&entity.state, start).await {
        return engine.supervisor.report_exit(id, context, &found).await;
    }
    engine.supervisor.shim_lost(id, start, pidfd, context).await;
}

/// Continues a stop with the rest of its time.
fn resume_stop(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    let Some(entity) = engine.containers.get(&id) else { return };
    let Some(run) = entity.state.phase.run() else { return };
    let Some(stop) = &run.stop else { return };
    let signal = if stop.killed { Signal::KILL } else { stop.signal };
    engine.effects.enqueue(id, Effect::Signal { run: Box::new(run.clone()), signal }, context);
    if !stop.killed {
        engine.effects.enqueue(id, Effect::StopTimer { start: run.start, deadline: stop.deadline }, context);
    }
}
