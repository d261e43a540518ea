//! The shared state of the daemon's parts.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::Journal;

use crate::config::Config;
use crate::domain::id::{BootId, ContainerId};
use crate::effects::{self, Effects};
use crate::exec::Execs;
use crate::files::Files;
use crate::health::HealthWatch;
use crate::image::Images;
use crate::journal::record::OperationId;
use crate::ledger::Restorable;
use crate::moves::Moves;
use crate::network::Networks;
use crate::node::Node;
use crate::oom::OomWatch;
use crate::records::Containers;
use crate::session::Size;
use crate::spec::Host;
use crate::supervisor::Supervisor;
use crate::usage::Usage;
use crate::volume::Volumes;

/// A client that is to be attached from a container's first byte.
#[derive(Debug)]
pub(crate) struct FirstClient {
    /// The shim's end.
    pub socket: OwnedFd,
    /// The size of its terminal; the container's has it from the beginning.
    pub size: Option<Size>,
}

/// The engine: one for the process's life.
#[derive(Debug)]
pub(crate) struct Engine {
    pub node: Arc<Node>,
    pub journal: Journal,
    pub containers: Arc<Containers>,
    pub images: Arc<Images>,
    pub volumes: Arc<Volumes>,
    pub networks: Networks,
    pub effects: Arc<Effects>,
    pub moves: Arc<Moves>,
    pub supervisor: Arc<Supervisor>,
    pub execs: Arc<Execs>,
    pub health: Arc<HealthWatch>,
    pub oom: Arc<OomWatch>,
    pub usage: Usage,
    pub files: Arc<Files>,
    /// Clients that wait for a requested start, to be attached from its first byte.
    first_clients: Mutex<HashMap<(ContainerId, OperationId), FirstClient>>,
}

impl Engine {
    pub(crate) fn new(config: Config, host: Host, boot: BootId, journal: Journal) -> Arc<Self> {
        let node = Node::new(config, host, boot);
        let containers = Containers::new(node.clone(), journal.clone());
        let moves = Moves::new(node.host.cgroups.clone());
        let execs = Execs::new(node.clone(), containers.clone(), moves.clone());
        let health = HealthWatch::new(node.clone(), containers.clone(), execs.clone());
        let oom = OomWatch::new(node.clone(), containers.clone());
        let supervisor = Supervisor::new(node.clone(), containers.clone(), health.clone(), oom.clone());
        let engine = Arc::new(Self {
            images: Images::new(node.clone(), journal.clone(), containers.clone()),
            volumes: Volumes::new(node.clone(), journal.clone(), containers.clone()),
            journal,
            networks: Networks::new(node.config.network.clone(), &node.layout.network()),
            effects: Effects::new(tokio::runtime::Handle::current()),
            moves,
            execs,
            health,
            oom,
            supervisor,
            usage: Usage::default(),
            files: Files::new(node.clone(), containers.clone()),
            first_clients: Mutex::default(),
            containers,
            node,
        });
        let planner = Arc::downgrade(&engine);
        engine.containers.subscribe(Box::new(move |turn| {
            let Some(engine) = planner.upgrade() else { return };
            for effect in effects::plan(turn.events, turn.after) {
                engine.enqueue(*turn.id, effect, turn.context);
            }
        }));
        engine
    }

    /// All ledgers.
    pub(crate) fn ledgers(&self) -> [&dyn Restorable; 3] {
        [self.containers.ledger(), self.images.ledger(), self.volumes.ledger()]
    }

    /// Leaves a client for the launch that this operation asks for.
    pub(crate) fn put_first_client(&self, id: ContainerId, operation: OperationId, client: FirstClient) {
        lock(&self.first_clients).insert((id, operation), client);
    }

    /// This operation's client, if it left one. A launch never takes another operation's.
    pub(crate) fn take_first_client(&self, id: &ContainerId, operation: OperationId) -> Option<FirstClient> {
        lock(&self.first_clients).remove(&(*id, operation))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
