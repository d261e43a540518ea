//! What events make the daemon do. Each effect is planned from durable events, may run twice without harm, has a
//! deadline, and reports its outcome as a command.
//!
//! A container's effects run one after the other, except those that must not wait behind a slow one: signals and the
//! stop's timer.

mod adopt;
mod dismantle;
mod freeze;
mod launch;
mod prepare;
mod release;
mod signal;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::container::{Container, Event, Phase, Run};
use crate::domain::id::{ContainerId, Signal, StartId, Timestamp};
use crate::engine::Engine;
use crate::journal::record::{Actor, Context};

pub use dismantle::dismantle;
pub use launch::{RUNTIME_DEADLINE, await_launch, to_process};
pub use prepare::{Specified, discard};
pub use release::{end_shim, release, undo_start};
pub use signal::deliver;

/// Something to do in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Launch { start: StartId },
    Freeze,
    Thaw,
    Signal { run: Box<Run>, signal: Signal },
    StopTimer { start: StartId, deadline: Timestamp },
    Release,
    Adopt { start: StartId },
    Dismantle,
}

impl Effect {
    /// Waits behind the container's earlier effects.
    fn queues(&self) -> bool {
        match self {
            Self::Signal { .. } | Self::StopTimer { .. } => false,
            Self::Launch { .. } | Self::Freeze | Self::Thaw | Self::Release | Self::Adopt { .. } | Self::Dismantle => {
                true
            }
        }
    }
}

/// What one decision's events make us do; `after` is the container after all of them.
pub fn plan(events: &[Event], after: Option<&Container>) -> Vec<Effect> {
    let Some(after) = after else { return vec![] };
    let mut effects = Vec::new();
    for event in events {
        match event {
            Event::StartRequested { start, .. } => effects.push(Effect::Launch { start: *start }),
            Event::PauseRequested => effects.push(Effect::Freeze),
            Event::ResumeRequested => effects.push(Effect::Thaw),
            Event::StopRequested { start, signal, deadline, .. } => {
                effects.extend(signal_run(after, *signal));
                if *signal != Signal::KILL {
                    effects.push(Effect::StopTimer { start: *start, deadline: *deadline });
                }
            }
            Event::Killed { signal, .. } => effects.extend(signal_run(after, *signal)),
            Event::Exited { .. } => effects.push(Effect::Release),
            Event::ShimLost { start } => effects.push(Effect::Adopt { start: *start }),
            // By force: the exit leads on.
            Event::RemoveRequested { .. } => {
                effects.push(signal_run(after, Signal::KILL).unwrap_or(Effect::Dismantle));
            }
            Event::CreateRequested { .. }
            | Event::Created
            | Event::CreateFailed { .. }
            | Event::Started { .. }
            | Event::StartFailed { .. }
            | Event::Paused
            | Event::PauseFailed { .. }
            | Event::Resumed
            | Event::ResumeFailed { .. }
            | Event::OomKilled { .. }
            | Event::Renamed { .. }
            | Event::ShimAdopted { .. }
            | Event::RemoveFailed { .. }
            | Event::Removed => {}
        }
    }
    // The exit that a removal by force was waiting for.
    let removing = matches!(&after.phase, Phase::Removing(removing) if removing.run.is_none());
    if removing && effects.last() == Some(&Effect::Release) {
        effects.push(Effect::Dismantle);
    }
    effects
}

fn signal_run(after: &Container, signal: Signal) -> Option<Effect> {
    after.phase.run().map(|run| Effect::Signal { run: Box::new(run.clone()), signal })
}

/// Effects that wait for their turn, per container. A container with an entry has a task at work.
#[derive(Debug, Default)]
pub struct Effects {
    waiting: Mutex<HashMap<ContainerId, VecDeque<(Effect, Context)>>>,
}

impl Engine {
    /// Puts an effect in its container's queue, or runs it at once. Never blocks: the journal's thread calls it.
    pub fn enqueue(self: &Arc<Self>, id: ContainerId, effect: Effect, context: &Context) {
        let context = Context { actor: Actor::Engine, ..context.clone() };
        if !effect.queues() {
            self.tasks.spawn(self.clone().execute(id, effect, context));
            return;
        }
        let mut waiting = self.effects.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&id) {
            Some(queue) => queue.push_back((effect, context)),
            None => {
                waiting.insert(id, VecDeque::new());
                drop(waiting);
                self.tasks.spawn(self.clone().work(id, effect, context));
            }
        }
    }

    /// One container's effects, until none is left.
    async fn work(self: Arc<Self>, id: ContainerId, mut effect: Effect, mut context: Context) {
        loop {
            // A task of its own: an effect that panics must not take those behind it along.
            let outcome = self.tasks.spawn(self.clone().execute(id, effect.clone(), context)).await;
            if let Err(error) = outcome {
                tracing::error!(container_id = %id.short(), ?effect, %error, "an effect ended abnormally");
            }
            let mut waiting = self.effects.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting.get_mut(&id).and_then(VecDeque::pop_front) {
                Some(next) => (effect, context) = next,
                None => {
                    waiting.remove(&id);
                    return;
                }
            }
        }
    }

    async fn execute(self: Arc<Self>, id: ContainerId, effect: Effect, context: Context) {
        match effect {
            Effect::Launch { start } => launch::launch(&self, id, start, &context).await,
            Effect::Freeze => freeze::freeze(&self, id, &context).await,
            Effect::Thaw => freeze::thaw(&self, id, &context).await,
            Effect::Signal { run, signal } => signal::signal(&self, id, &run, signal).await,
            Effect::StopTimer { start, deadline } => signal::stop_timer(&self, id, start, deadline, &context).await,
            Effect::Release => release(&self, id).await,
            Effect::Adopt { start } => adopt::adopt(&self, id, start, &context).await,
            Effect::Dismantle => dismantle(&self, id, &context).await,
        }
    }
}
