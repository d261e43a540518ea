//! Locates a container's cgroups, for version 1, hybrid and version 2: to read out-of-memory kills, to find orphaned
//! processes, to remove cgroups that a runtime left; and the cgroup of the shims.
//!
//! Paths are absolute below each hierarchy's mount point, which is how both runtimes read an absolute `cgroupsPath`.
//! The daemon's own place in the hierarchies (`/proc/self/cgroup`) therefore plays no part for a container: a daemon
//! nested by a service manager must not put containers below its own service, where stopping the service would end
//! them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::definition::Definition;
use crate::rootfs::{MountEntry, mounts_below};

use super::{DEFAULT_CGROUP_PARENT, GroupPath, SpecError};

/// The cgroup interface of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy per controller.
    V1,
    /// Version 1 for the controllers, and a version 2 hierarchy, which is the service manager's.
    Hybrid,
    /// One hierarchy.
    V2,
}

/// The cgroup hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroups {
    version: Version,
    hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    unified: bool,
    /// Of version 1: `memory`, `cpu`, …, and `name=systemd`.
    controllers: Vec<String>,
}

impl Cgroups {
    /// Finds the hierarchies that are mounted in this mount namespace.
    pub(crate) fn detect() -> io::Result<Self> {
        Ok(Self::from_mounts(&mounts_below(&[Path::new("/sys/fs/cgroup")])?))
    }

    /// Finds the hierarchies in the text of a mountinfo file.
    #[cfg(test)]
    pub(crate) fn from_mountinfo(text: &[u8]) -> Self {
        Self::from_mounts(&engine_host::fs::parse_mountinfo(text))
    }

    fn from_mounts(mounts: &[MountEntry]) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in mounts {
            let hierarchy = match mount.fs_type.as_str() {
                "cgroup2" => Hierarchy { root: mount.target.clone(), unified: true, controllers: Vec::new() },
                "cgroup" => Hierarchy {
                    root: mount.target.clone(),
                    unified: false,
                    controllers: mount.super_options.split(',').map(str::to_owned).collect(),
                },
                _ => continue,
            };
            // A later mount at the same place hides the earlier one; and one place per hierarchy is enough.
            hierarchies.retain(|known| known.root != hierarchy.root);
            if !hierarchies.iter().any(|known| known.same_as(&hierarchy)) {
                hierarchies.push(hierarchy);
            }
        }
        let unified = hierarchies.iter().any(|hierarchy| hierarchy.unified);
        let version = match hierarchies.iter().any(|hierarchy| !hierarchy.unified) {
            true if unified => Version::Hybrid,
            true => Version::V1,
            false => Version::V2,
        };
        Self { version, hierarchies }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The root of the hierarchy that has a controller, whatever the version.
    pub(crate) fn controller_root(&self, controller: &str) -> Option<&Path> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.has(controller, self.version)).map(|found| &*found.root)
    }

    /// The root of the hierarchy of version 2, if there is one.
    pub(crate) fn unified_root(&self) -> Option<&Path> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.unified).map(|found| &*found.root)
    }

    /// The `cgroup.procs` of the cgroup that a process is in, from the text of its `/proc/<pid>/cgroup`: in the
    /// hierarchy of version 2 where there is one, otherwise in any.
    pub(crate) fn procs_of(&self, text: &str) -> Option<PathBuf> {
        let hierarchy = self.hierarchies.iter().max_by_key(|hierarchy| hierarchy.unified)?;
        let path = text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            hierarchy.is_named(controllers).then_some(path)
        })?;
        Some(below(&hierarchy.root, path).join("cgroup.procs"))
    }

    /// The file that counts out-of-memory kills of a container, if this machine has one.
    pub(crate) fn oom_file(&self, group: &GroupPath) -> Option<PathBuf> {
        let name = if self.version == Version::V2 { "memory.events" } else { "memory.oom_control" };
        Some(group.below(self.controller_root("memory")?).join(name))
    }

    /// The file that registers a watch on a file of a version 1 cgroup.
    pub(crate) fn event_control(&self, group: &GroupPath) -> Option<PathBuf> {
        let old = self.version != Version::V2;
        old.then(|| Some(group.below(self.controller_root("memory")?).join("cgroup.event_control"))).flatten()
    }

    /// How many processes of the container were killed for want of memory; `None` when no file counts them, or the
    /// cgroup is gone.
    pub(crate) fn oom_kills(&self, group: &GroupPath) -> io::Result<Option<u64>> {
        let Some(file) = self.oom_file(group) else { return Ok(None) };
        match fs::read_to_string(file) {
            Ok(text) => Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The processes in the container's cgroups, those below them included, in ascending order, each once.
    pub(crate) fn processes(&self, group: &GroupPath) -> io::Result<Vec<i32>> {
        let mut pids = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            visit(&group.below(&hierarchy.root), &mut |dir| {
                let text = match fs::read_to_string(dir.join("cgroup.procs")) {
                    // A threaded cgroup of version 2: the processes are listed above it.
                    Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => String::new(),
                    result => ignore_gone(result)?.unwrap_or_default(),
                };
                // 0 is a process outside the daemon's pid namespace, which cannot be signalled.
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
                Ok(())
            })?;
        }
        Ok(pids.into_iter().collect())
    }

    /// Removes the container's cgroup from every hierarchy, children first. An absent cgroup is no error; one that
    /// still has processes is an error of kind `ResourceBusy`, returned after everything else was tried.
    pub(crate) fn remove(&self, group: &GroupPath) -> io::Result<()> {
        let mut outcome = Ok(());
        for hierarchy in &self.hierarchies {
            let removed = visit(&group.below(&hierarchy.root), &mut |dir| ignore_gone(fs::remove_dir(dir)).map(drop));
            outcome = outcome.and(removed);
        }
        outcome
    }

    /// Whether any hierarchy has this cgroup.
    pub(crate) fn exists(&self, group: &GroupPath) -> bool {
        self.hierarchies.iter().any(|hierarchy| group.below(&hierarchy.root).is_dir())
    }

    /// Makes the shims' cgroup, and returns the `cgroup.procs` files that a shim's pid has to be written to.
    ///
    /// It exists in the hierarchies that a service manager tracks processes by (version 2's, and version 1's
    /// `name=systemd`), so that stopping the daemon's service leaves the shims alone. The list is empty on a machine
    /// without such a hierarchy, which tracks no processes.
    pub(crate) fn make_shims(&self, parent: &str) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for dir in self.shims(parent) {
            fs::create_dir_all(&dir)?;
            files.push(dir.join("cgroup.procs"));
        }
        Ok(files)
    }

    /// Removes the shims' cgroup where it is empty; one in use stays, which is no error.
    pub(crate) fn remove_shims(&self, parent: &str) -> io::Result<()> {
        for dir in self.shims(parent) {
            match fs::remove_dir(&dir) {
                Err(error) if !is_gone(&error) && error.kind() != io::ErrorKind::ResourceBusy => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn shims(&self, parent: &str) -> impl Iterator<Item = PathBuf> {
        let tracked = self.hierarchies.iter().filter(|hierarchy| hierarchy.is_tracked());
        tracked.map(move |hierarchy| below(&hierarchy.root, parent).join("shims"))
    }
}

impl Hierarchy {
    fn has(&self, controller: &str, version: Version) -> bool {
        if self.unified {
            // In a hybrid setup the controllers are version 1's, even those that the kernel offers in both.
            let listed = || fs::read_to_string(self.root.join("cgroup.controllers")).unwrap_or_default();
            return version == Version::V2 && listed().split_whitespace().any(|name| name == controller);
        }
        self.controllers.iter().any(|name| name == controller)
    }

    fn is_tracked(&self) -> bool {
        self.unified || self.controllers.iter().any(|name| name == "name=systemd")
    }

    /// Whether a line of `/proc/<pid>/cgroup` with this list of controllers means this hierarchy. Version 2 has an
    /// empty list there.
    fn is_named(&self, controllers: &str) -> bool {
        match self.unified {
            true => controllers.is_empty(),
            false => controllers.split(',').any(|name| self.controllers.iter().any(|own| own == name)),
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        self.unified == other.unified && self.controllers == other.controllers
    }
}

/// A container's cgroup.
pub(crate) struct Placement {
    /// The value of `cgroupsPath` for the runtime.
    pub for_runtime: String,
    pub path: GroupPath,
}

impl Placement {
    /// The cgroup of a container, with the daemon's settings.
    pub(crate) fn of(definition: &Definition, daemons: &str, systemd: bool) -> Result<Self, SpecError> {
        Self::below(&definition.cgroup_parent, daemons, systemd, &definition.id)
    }

    /// The same from the container's id and its own parent, which may be empty.
    pub(crate) fn below(own_parent: &str, daemons: &str, systemd: bool, id: &str) -> Result<Self, SpecError> {
        let asked = [own_parent, daemons];
        let parent = asked.into_iter().find(|parent| !parent.is_empty());
        if systemd {
            return systemd_placement(parent.filter(|parent| *parent != DEFAULT_CGROUP_PARENT), id);
        }
        let parent = parent.unwrap_or(DEFAULT_CGROUP_PARENT);
        let parts = parent.split('/').filter(|part| !matches!(*part, "" | ".")).chain([id]);
        let text: String = parts.flat_map(|part| ["/", part]).collect();
        let path = own(&text, parent, id)?;
        Ok(Self { for_runtime: text, path })
    }
}

fn own(text: &str, parent: &str, id: &str) -> Result<GroupPath, SpecError> {
    GroupPath::of(text, id).ok_or_else(|| SpecError::CgroupParent { parent: parent.to_owned() })
}

/// systemd keeps slices in a tree that their names spell out: `a-b.slice` is `/a.slice/a-b.slice`.
fn systemd_placement(parent: Option<&str>, id: &str) -> Result<Placement, SpecError> {
    let slice = parent.map_or("system.slice", |parent| parent.trim_matches('/').rsplit('/').next().unwrap_or(parent));
    let not_a_slice = || SpecError::NotASlice { parent: slice.to_owned() };
    let stem = slice.strip_suffix(".slice").ok_or_else(not_a_slice)?;
    let mut path = String::new();
    if stem != "-" {
        if stem.split('-').any(str::is_empty) {
            return Err(not_a_slice());
        }
        for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
            path.push_str(&format!("/{}.slice", &stem[..end]));
        }
    }
    path.push_str(&format!("/isulad-{id}.scope"));
    let path = own(&path, slice, id)?;
    Ok(Placement { for_runtime: format!("{slice}:isulad:{id}"), path })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Calls `f` for every cgroup at and below `dir`, children first. All are visited; the first error is returned.
fn visit(dir: &Path, f: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let Some(entries) = ignore_gone(fs::read_dir(dir))? else { return Ok(()) };
    let mut outcome = Ok(());
    for entry in entries {
        let Some(entry) = ignore_gone(entry)? else { break };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            outcome = outcome.and(visit(&entry.path(), f));
        }
    }
    outcome.and(f(dir))
}

fn ignore_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel answers ENODEV to reads of an open file of a cgroup that is being removed.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
