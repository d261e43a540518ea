//! The composition root: makes the daemon's parts, each with the parts that it uses. Imported by none of them.

use std::sync::Arc;

use store::Journal;

use crate::config::Config;
use crate::domain::id::BootId;
use crate::effects::ContainerEffects;
use crate::exec::Execs;
use crate::files::Files;
use crate::health::HealthWatch;
use crate::image::Images;
use crate::ledger::Restorable;
use crate::moves::Moves;
use crate::network::Networks;
use crate::node::Node;
use crate::oom::OomWatch;
use crate::records::Containers;
use crate::spec::Host;
use crate::supervisor::Supervisor;
use crate::usage::Usage;
use crate::volume::Volumes;

/// The engine: one for the process's life.
#[derive(Debug)]
pub(crate) struct Engine {
    pub node: Arc<Node>,
    pub journal: Journal,
    pub containers: Arc<Containers>,
    pub images: Arc<Images>,
    pub volumes: Arc<Volumes>,
    pub networks: Arc<Networks>,
    pub effects: Arc<ContainerEffects>,
    pub moves: Arc<Moves>,
    pub supervisor: Arc<Supervisor>,
    pub execs: Arc<Execs>,
    pub health: Arc<HealthWatch>,
    pub usage: Arc<Usage>,
    pub files: Arc<Files>,
}

impl Engine {
    pub(crate) fn new(config: Config, host: Host, boot: BootId, journal: Journal) -> Arc<Self> {
        let node = Node::new(config, host, boot);
        let containers = Containers::new(node.clone(), journal.clone());
        let moves = Moves::new(node.host.cgroups.clone());
        let execs = Execs::new(node.clone(), containers.clone(), moves.clone());
        let health = HealthWatch::new(node.clone(), containers.clone(), execs.clone());
        let oom = OomWatch::new(node.clone(), containers.clone());
        let supervisor = Supervisor::new(node.clone(), containers.clone(), health.clone(), oom);
        let images = Images::new(node.clone(), journal.clone(), containers.clone());
        let volumes = Volumes::new(node.clone(), journal.clone(), containers.clone());
        let networks = Arc::new(Networks::new(node.config.network.clone(), &node.layout.network()));
        let effects = ContainerEffects::new(
            node.clone(),
            containers.clone(),
            volumes.clone(),
            networks.clone(),
            supervisor.clone(),
            execs.clone(),
            moves.clone(),
        );
        Arc::new(Self {
            images,
            volumes,
            journal,
            networks,
            effects,
            moves,
            execs,
            health,
            supervisor,
            usage: Usage::new(node.clone(), containers.clone()),
            files: Files::new(node.clone(), containers.clone()),
            containers,
            node,
        })
    }

    /// All ledgers.
    pub(crate) fn ledgers(&self) -> [&dyn Restorable; 3] {
        [self.containers.ledger(), self.images.ledger(), self.volumes.ledger()]
    }
}
