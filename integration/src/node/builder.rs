//! Making a node: its directories, its namespaces, and `daemon.json`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value};

use super::namespace::Namespace;
use super::{Node, Runtime, text};
use crate::{binaries, cgroup, command, disk, signals};

/// An engine to be made: its differences from the defaults.
#[derive(Debug)]
pub struct NodeBuilder {
    runtime: Runtime,
    config: Map<String, Value>,
    graph_size: Option<u64>,
    host: Option<String>,
    own_network: bool,
    within: PathBuf,
}

impl NodeBuilder {
    /// A key of `daemon.json`.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    /// Gives the graph directory a filesystem of its own, of this many bytes.
    #[must_use]
    pub fn graph_size(mut self, bytes: u64) -> Self {
        self.graph_size = Some(bytes);
        self
    }

    /// The daemon knows this name for the machine's loopback: a registry that is not trusted as the machine's own.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.host = Some(name.to_owned());
        self
    }

    /// The daemon has a network of its own, with nothing but `lo`: routes and firewall of the machine are left alone.
    #[must_use]
    pub fn own_network(mut self) -> Self {
        self.own_network = true;
        self
    }

    /// Below this directory instead of `/tmp`. Its path shall be short: a socket's may have 107 bytes.
    #[must_use]
    pub fn within(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.within);
        self
    }

    /// The node with its directories, without a daemon.
    pub fn build(self) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        binaries::required(self.runtime.name());
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::Builder::new().prefix("isula-").tempdir_in(&self.within).expect("it can be written");
        let mut node = Node {
            runtime: self.runtime,
            cgroup_parent: format!("/isula-test-{}-{number}", disk::machine()),
            config: Map::new(),
            namespace: None,
            own_mounts: vec![],
            daemon: None,
            calls: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime for calls can be made"),
            dir,
        };
        signals::heed(&node.calls);
        for dir in [node.graph(), node.state()] {
            std::fs::create_dir(dir).expect("the node's directory is ours");
        }
        let mut changes = Vec::new();
        // crun takes a hybrid machine for one of version 2: there it gets a view without that hierarchy.
        if self.runtime == Runtime::Crun && cgroup::hybrid() {
            changes.push("umount /sys/fs/cgroup/unified".to_owned());
        }
        if let Some(name) = self.host {
            let hosts = node.dir().join("hosts");
            std::fs::write(&hosts, format!("127.0.0.1 localhost {name}\n")).expect("the node's directory is ours");
            changes.push(format!("mount --bind {} /etc/hosts", hosts.display()));
        }
        if self.own_network {
            changes.push("ip link set lo up".to_owned());
        }
        if !changes.is_empty() {
            node.namespace = Some(Namespace::make(self.own_network, &changes));
        }
        if let Some(bytes) = self.graph_size {
            let graph = node.graph();
            let size = format!("size={bytes}");
            let words = node.inside(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", &text(&graph)]);
            command::tool(&words);
            node.own_mounts.push(graph);
        }
        node.config = node.defaults();
        node.config.extend(self.config);
        node
    }

    /// The node with a daemon that serves.
    pub fn start(self) -> Node {
        let mut node = self.build();
        node.launch();
        node
    }
}

impl Node {
    pub fn builder(runtime: Runtime) -> NodeBuilder {
        NodeBuilder {
            runtime,
            config: Map::new(),
            graph_size: None,
            host: None,
            own_network: false,
            within: "/tmp".into(),
        }
    }

    /// A node with the defaults and a ready daemon.
    pub fn start(runtime: Runtime) -> Self {
        Self::builder(runtime).start()
    }
}
