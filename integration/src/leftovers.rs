//! What an engine has left in the world: nothing, when its containers are removed.

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
}

impl Leftovers {
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl Node {
    /// What is there now.
    pub fn leftovers(&self) -> Leftovers {
        let graph = self.graph();
        let mut directories = children(&graph.join("mnt/rootfs"));
        for runtimes in [graph.join("engines"), self.state()] {
            directories.extend(children(&runtimes).iter().flat_map(|runtime| children(runtime)));
        }
        Leftovers {
            mounts: self.mounts(),
            shims: self.shims(),
            cgroups: cgroup::below(self.cgroup_parent()),
            directories,
        }
    }

    /// # Panics
    /// When something is left, with what it is.
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
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
