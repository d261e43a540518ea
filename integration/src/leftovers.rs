//! The files, mounts, processes and cgroups that an engine has left: none, when its containers, images and volumes are
//! removed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroup;
use crate::node::Node;
use crate::process::{self, Process};

/// Each list is empty when nothing is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Mount points below the node's directories.
    pub mounts: Vec<PathBuf>,
    /// Shims of the node's state directory.
    pub shims: Vec<Process>,
    /// Cgroups below the node's parent, in every hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Containers' directories below graph and state.
    pub directories: Vec<PathBuf>,
    /// Blobs, layers, half-made layers, views and volumes.
    pub storage: Vec<PathBuf>,
    /// Network namespaces, addresses in use, and networks still to be given back.
    pub networks: Vec<PathBuf>,
}

impl Leftovers {
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl Node {
    /// All leftovers at this moment.
    pub fn leftovers(&self) -> Leftovers {
        let graph = self.graph();
        let mut directories = children(&graph.join("mnt/rootfs"));
        for runtimes in [graph.join("engines"), self.state()] {
            directories.extend(children(&runtimes).iter().flat_map(|runtime| children(runtime)));
        }
        // A runtime's own root stays, with its files that belong to no container.
        let (roots, mut directories): (Vec<_>, Vec<_>) =
            directories.into_iter().partition(|path| path.ends_with("root"));
        let known = roots.iter().flat_map(|root| children(root));
        directories.extend(known.filter(|path| path.file_name().is_none_or(|name| name.as_encoded_bytes()[0] != b'.')));
        Leftovers {
            mounts: self.mounts(),
            shims: self.shims(),
            cgroups: cgroup::below(self.cgroup_parent()),
            directories,
            storage: self.storage(),
            networks: self.networks(),
        }
    }

    /// The files of containers in networks.
    pub fn networks(&self) -> Vec<PathBuf> {
        let network = self.graph().join("network");
        let addresses = entries(&network.join("addresses")).into_iter().flat_map(|of| entries(&of));
        let is_address = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().parse::<std::net::IpAddr>().is_ok())
        };
        let mut found = entries(&self.netns_dir());
        found.extend(entries(&network.join("pending")));
        found.extend(addresses.filter(is_address));
        found
    }

    /// The files of images and volumes.
    pub fn storage(&self) -> Vec<PathBuf> {
        let places = ["images/blobs", "images/layers", "images/ingest", "images/views", "volumes"];
        places.iter().flat_map(|place| entries(&self.graph().join(place))).collect()
    }

    /// The files of layers that are being made, and their remains.
    pub fn ingest(&self) -> Vec<PathBuf> {
        entries(&self.graph().join("images/ingest"))
    }

    /// # Panics
    /// When something is left, with a list of it.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.none(), "left behind: {left:#?}");
    }

    /// The shims of this node's containers.
    pub fn shims(&self) -> Vec<Process> {
        let state = format!("{}/", self.state().display());
        process::with_argument("isulad-shim", |word| word.starts_with(&state))
    }

    /// Mount points below the node's directories, in the daemon's mount namespace, the innermost first.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let text = fs::read_to_string(self.mountinfo()).unwrap_or_default();
        let mut points: Vec<PathBuf> =
            text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect();
        points.retain(|point| point.starts_with(self.dir()) && *point != self.dir() && !self.is_own_mount(point));
        points.reverse();
        points
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    entries(dir).into_iter().filter(|path| path.is_dir()).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
