//! The machine that the daemon serves, as its settings describe it: programs, places and paths, the kernel, the boot.
//!
//! Every part of the daemon has it, and it knows of none of them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use engine_host::fs::locate;

use crate::config::Config;
use crate::domain::container::{Container, Phase};
use crate::domain::id::{BootId, StartId};
use crate::layout::{Bundle, Layout};
use crate::runtime::{Instance, Runtime, RuntimeError};
use crate::spec::Host;
use crate::warnings::Warnings;

/// How complete the store's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Complete: an unknown object has no owner.
    Whole,
    /// Incomplete: records are missing or unreadable, so an unknown object may belong to a container.
    Partial,
    /// Written in a newer format: no changes are allowed.
    ReadOnly,
}

/// One for the process's life.
#[derive(Debug)]
pub(crate) struct Node {
    pub config: Config,
    pub layout: Layout,
    pub host: Host,
    pub boot: BootId,
    /// Effects and other tasks run here, including those enqueued by the journal's own thread.
    pub tasks: tokio::runtime::Handle,
    /// The completeness of the store, which decides what recovery may do.
    trust: OnceLock<Trust>,
    warnings: Arc<Warnings>,
}

impl Node {
    /// Within a runtime of tokio, which runs the tasks of all parts.
    pub(crate) fn new(config: Config, host: Host, boot: BootId) -> Arc<Self> {
        let layout = Layout { graph: config.graph.clone(), state: config.state.clone() };
        let (tasks, trust) = (tokio::runtime::Handle::current(), OnceLock::new());
        Arc::new(Self { config, layout, host, boot, tasks, trust, warnings: Arc::default() })
    }

    /// The runtime of this name. Its binary is looked up now, so that one installed later is found later.
    pub(crate) fn runtime(&self, name: &str) -> Result<Runtime, RuntimeError> {
        match self.config.runtimes.get(name) {
            Some(entry) => Runtime::find(name, &entry.path, &entry.args),
            None => Err(RuntimeError::Missing { name: name.to_owned(), path: PathBuf::from(name) }),
        }
    }

    /// The shim's binary; `None` when it is missing.
    pub(crate) fn shim(&self) -> Option<PathBuf> {
        locate(&self.config.shim)
    }

    pub(crate) fn bundle(&self, container: &Container) -> Bundle {
        self.layout.bundle(&container.card.runtime, &container.id)
    }

    pub(crate) fn state_dir(&self, container: &Container) -> isulad_shim::StateDir {
        self.layout.state_dir(&container.card.runtime, &container.id)
    }

    /// The present or pending start, as the runtime knows it.
    pub(crate) fn instance(&self, container: &Container) -> Option<Instance> {
        let start = if let Phase::Starting(starting) = &container.phase {
            starting.start
        } else {
            container.phase.run()?.start
        };
        Some(self.instance_of(container, start))
    }

    pub(crate) fn instance_of(&self, container: &Container, start: StartId) -> Instance {
        Instance::new(self.layout.runtime_root(&container.card.runtime), &container.id, start)
    }

    /// The `cgroup.procs` files by which a shim leaves the daemon's cgroup. Empty on a machine without such cgroups.
    pub(crate) fn shim_cgroups(&self) -> Vec<PathBuf> {
        self.host.cgroups.make_shims(&self.config.cgroup_parent).unwrap_or_else(|error| {
            self.warn(format!("cannot make the shims' cgroup: {error}"));
            vec![]
        })
    }

    /// States how complete the store is; only the first statement counts.
    pub(crate) fn settle_trust(&self, trust: Trust) {
        let _ = self.trust.set(trust);
    }

    pub(crate) fn trust(&self) -> Trust {
        // Nothing is known before the store was read.
        self.trust.get().copied().unwrap_or(Trust::Partial)
    }

    /// Logs the warning and keeps it for `isula info`.
    pub(crate) fn warn(&self, message: String) {
        self.warnings.add(message);
    }

    /// For a part that adds to them itself.
    pub(crate) fn shared_warnings(&self) -> Arc<Warnings> {
        self.warnings.clone()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.list()
    }
}
