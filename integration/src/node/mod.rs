//! One engine: its directories, its daemon, and the means to talk to it.

mod builder;
mod cleaning;
mod clients;
mod commands;
mod launching;
mod looking;
mod namespace;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::daemon::Daemon;

pub use builder::NodeBuilder;
use namespace::Namespace;

/// The OCI runtime that a node's containers run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runtime {
    Runc,
    Crun,
}

impl Runtime {
    pub const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// One engine on directories, a socket and a cgroup of its own.
#[derive(Debug)]
pub struct Node {
    runtime: Runtime,
    cgroup_parent: String,
    config: Map<String, Value>,
    namespace: Option<Namespace>,
    /// Mounts that the harness made.
    own_mounts: Vec<PathBuf>,
    daemon: Option<Daemon>,
    calls: tokio::runtime::Runtime,
    dir: TempDir,
}

impl Node {
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn graph(&self) -> PathBuf {
        self.dir().join("g")
    }

    pub fn state(&self) -> PathBuf {
        self.dir().join("s")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir().join("sock")
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir().join("daemon.json")
    }

    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// Where network namespaces are pinned.
    pub fn netns_dir(&self) -> PathBuf {
        self.dir().join("netns")
    }

    /// A container's volatile directory.
    pub fn state_dir(&self, id: &str) -> PathBuf {
        self.state().join(self.runtime.name()).join(id)
    }

    /// A container's persistent directory.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.graph().join("engines").join(self.runtime.name()).join(id)
    }

    /// All that this node's daemons have written to their log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir().join("daemon.log")
    }

    fn defaults(&self) -> Map<String, Value> {
        let value = json!({
            "hosts": [format!("unix://{}", self.socket().display())],
            "graph": self.graph(),
            "state": self.state(),
            "pidfile": self.dir().join("pidfile"),
            "default-runtime": self.runtime.name(),
            "cgroup-parent": self.cgroup_parent,
            "log-level": "info",
            "cni-conf-dir": self.dir().join("cni"),
            "netns-dir": self.netns_dir(),
        });
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// Changes a key of `daemon.json` for the next daemon.
    pub fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.to_owned(), value);
    }

    pub(crate) fn mountinfo(&self) -> PathBuf {
        match &self.namespace {
            Some(namespace) => format!("/proc/{}/mountinfo", namespace.keeper.id()).into(),
            None => "/proc/self/mountinfo".into(),
        }
    }

    pub(crate) fn set_own_mounts(&mut self, points: Vec<PathBuf>) {
        self.own_mounts = points;
    }

    pub(crate) fn is_own_mount(&self, point: &Path) -> bool {
        self.own_mounts.iter().any(|own| own == point)
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("the tests' paths are UTF-8").to_owned()
}
