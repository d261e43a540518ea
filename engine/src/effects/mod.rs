//! Effects of containers: changes of the world that follow from events. Each is planned from durable events, may run
//! twice without harm, has a deadline, and reports its outcome as a command.
//!
//! A container's effects run one after the other, except signals and timers, which must not wait behind a slow one.

mod adopt;
mod deadlines;
mod dismantle;
mod first_client;
mod freeze;
mod launch;
mod network;
mod plan;
mod prepare;
mod recursion;
mod release;
mod restart;
mod signal;
mod update;

use std::sync::Arc;

use crate::domain::container::{Command, Container};
use crate::domain::id::ContainerId;
use crate::exec::Execs;
use crate::journal::record::Context;
use crate::ledger::{self, Performer};
use crate::moves::Moves;
use crate::network::Networks;
use crate::node::Node;
use crate::records::Containers;
use crate::supervisor::Supervisor;
use crate::volume::Volumes;
use first_client::FirstClients;
use plan::plan;

pub(crate) use deadlines::LAUNCH_LIMIT;
pub(crate) use first_client::FirstClient;
pub(crate) use launch::await_launch;
pub(crate) use plan::Effect;
pub(crate) use release::{delete_instances, release, undo_start};

/// The queues of all containers.
type Queues = ledger::Effects<Container, Effect>;

/// Performs the effects of containers, which it plans from the ledger's events and keeps in queues.
#[derive(Debug)]
pub(crate) struct ContainerEffects {
    node: Arc<Node>,
    containers: Arc<Containers>,
    volumes: Arc<Volumes>,
    networks: Arc<Networks>,
    supervisor: Arc<Supervisor>,
    execs: Arc<Execs>,
    moves: Arc<Moves>,
    queues: Arc<Queues>,
    first_clients: FirstClients,
}

impl ContainerEffects {
    /// Subscribes to the containers' ledger.
    pub(crate) fn new(
        node: Arc<Node>,
        containers: Arc<Containers>,
        volumes: Arc<Volumes>,
        networks: Arc<Networks>,
        supervisor: Arc<Supervisor>,
        execs: Arc<Execs>,
        moves: Arc<Moves>,
    ) -> Arc<Self> {
        let (queues, first_clients) = (Queues::new(node.tasks.clone()), FirstClients::default());
        let effects =
            Arc::new(Self { node, containers, volumes, networks, supervisor, execs, moves, queues, first_clients });
        let planner = Arc::downgrade(&effects);
        effects.containers.subscribe(Box::new(move |turn| {
            let Some(effects) = planner.upgrade() else { return };
            for effect in plan(turn.events, turn.after) {
                effects.enqueue(*turn.id, effect, turn.context);
            }
        }));
        effects
    }

    /// From now on no effect begins.
    pub(crate) fn stop(&self) {
        self.queues.stop();
    }

    /// Waits until all effects that have begun are done.
    pub(crate) async fn idle(&self) {
        self.queues.idle().await;
    }

    /// Puts an effect in its container's queue, or runs it at once. Never blocks.
    pub(crate) fn enqueue(self: &Arc<Self>, id: ContainerId, effect: Effect, context: &Context) {
        self.queues.enqueue(self, id, effect, context);
    }
}

impl Performer<Container> for ContainerEffects {
    type Effect = Effect;

    async fn fail(self: Arc<Self>, id: ContainerId, effect: Effect, message: String, context: Context) {
        let report = match effect {
            Effect::Launch { start } => {
                if let Some(entity) = self.containers.get(&id) {
                    undo_start(&self, &entity.state).await;
                }
                Command::ReportStartFailed { start, code: 125, message, at: crate::clock::now() }
            }
            Effect::Freeze => Command::ReportPauseFailed { message },
            Effect::Thaw => Command::ReportResumeFailed { message },
            Effect::Dismantle => Command::ReportRemoveFailed { message },
            Effect::Update => Command::ReportUpdateFailed { message },
            Effect::Adopt { start } => return adopt::try_again(&self, id, start, None, &context),
            // No intent waits for an outcome of these.
            Effect::Release
            | Effect::ThawKilled { .. }
            | Effect::Signal { .. }
            | Effect::StopTimer { .. }
            | Effect::RestartTimer { .. } => return,
        };
        self.containers.report(&id, &context, report).await;
    }

    async fn perform(self: Arc<Self>, id: ContainerId, effect: Effect, context: Context) {
        match effect {
            Effect::Launch { start } => launch::launch(&self, id, start, &context).await,
            Effect::Freeze => freeze::freeze(&self, id, &context).await,
            Effect::Thaw => freeze::thaw(&self, id, &context).await,
            Effect::Signal { run, signal } => signal::signal(&self, id, &run, signal, &context),
            Effect::ThawKilled { start } => signal::thaw_killed(&self, id, start).await,
            Effect::StopTimer { start, deadline } => signal::stop_timer(&self, id, start, deadline, &context).await,
            Effect::RestartTimer { start, due } => restart::restart_timer(&self, id, start, due).await,
            Effect::Update => update::update(&self, id, &context).await,
            Effect::Release => release(&self, id).await,
            Effect::Adopt { start } => adopt::adopt(&self, id, start, &context).await,
            Effect::Dismantle => dismantle::dismantle(&self, id, &context).await,
        }
    }
}
