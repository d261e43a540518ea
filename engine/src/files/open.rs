//! The tree of a container, opened: of a running one as its process sees it, of another from its root filesystem and
//! the mounts that a start would make.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::ProcessRef;
use tokio::time::{Instant, timeout_at};

use super::view::{View, last};
use super::{Files, FilesError};
use crate::definition::{Definition, MountKind, Network};
use crate::domain::container::{Phase, Rejection};
use crate::domain::id::ContainerId;
use crate::latest::latest;
use crate::records::{Entity, SharedAccess, to_reference};
use crate::rootfs::{self, ContainerDirs};
use crate::volume;

/// As long as every command of a user waits for an operation under way.
const PATIENCE: Duration = Duration::from_secs(150);

/// A container with its files held: while this lives, it is neither started nor removed.
#[derive(Debug)]
pub(super) struct Held {
    pub entity: Arc<Entity>,
    pub access: SharedAccess,
    /// Its first process and that one's root, if it runs.
    root: Option<(ProcessRef, OwnedFd)>,
}

/// A tree, and the handle that keeps it mounted.
#[derive(Debug)]
pub(super) struct Opened {
    pub view: View,
    _root: Option<Arc<OwnedFd>>,
}

impl Files {
    /// Waits until nothing is under way that would make or remove the container's files.
    pub(super) async fn hold(&self, id: ContainerId) -> Result<Held, FilesError> {
        let deadline = Instant::now() + PATIENCE;
        let busy = |_| FilesError::Rejected(Rejection::InTransition);
        timeout_at(deadline, self.containers.verified(&id)).await.map_err(busy)?;
        loop {
            let gone = || FilesError::Rejected(Rejection::NoSuchContainer);
            let entity = self.containers.get(&id).ok_or_else(gone)?;
            let access = timeout_at(deadline, entity.root_access().shared()).await.map_err(busy)?;
            // Again: the start or removal that held the lock has changed it.
            let entity = self.containers.get(&id).ok_or_else(gone)?;
            match &entity.state.phase {
                Phase::Removing(_) => return Err(FilesError::Rejected(Rejection::BeingRemoved)),
                Phase::Starting(_) => {}
                Phase::Created | Phase::Exited(_) | Phase::Restarting(_) => {
                    return Ok(Held { entity, access, root: None });
                }
                // Without its process the container counts as running until its end is recorded, at any moment.
                Phase::Running(run) | Phase::Pausing(run) | Phase::Paused(run) | Phase::Resuming(run) => {
                    let process = to_reference(run.process);
                    if let Some(root) = timeout_at(deadline, root_of(process)).await.map_err(busy)?? {
                        return Ok(Held { entity, access, root: Some((process, root)) });
                    }
                }
            }
            drop(access);
            let version = entity.state.version;
            timeout_at(deadline, self.containers.changed_since(&id, version)).await.map_err(busy)?;
        }
    }
}

impl Held {
    /// The tree as the container sees it. `path` is the path to be looked up: mount points on the way to it are made,
    /// as a start would. Blocks.
    pub(super) fn open(&self, files: &Files, path: &Path) -> Result<Opened, FilesError> {
        if let Some((process, root)) = &self.root {
            // Its mounts go with it: a copy would land below them.
            if process.ending() {
                return Err(FilesError::Rejected(Rejection::InTransition));
            }
            return Ok(Opened { view: View::new(duplicate(root)?, false), _root: None });
        }
        let definition = files.containers.definition(&self.entity)?;
        let root = self.mount(files, &definition)?;
        let mut view = View::new(duplicate(&root)?, definition.read_only_rootfs);
        lay_mounts(files, &self.entity, &definition, &mut view, path)?;
        Ok(Opened { view, _root: Some(root) })
    }

    /// The root filesystem alone, without the mounts in it. Blocks.
    pub(super) fn open_rootfs(&self, files: &Files) -> Result<Opened, FilesError> {
        if self.root.is_some() {
            let container = &self.entity.state;
            let id = container.id.to_string();
            let dirs = ContainerDirs { graph: &files.node.layout.graph, runtime: &container.card.runtime, id: &id };
            let gone = || FilesError::NotMounted { path: dirs.merged() };
            let root = rootfs::open_mounted(&dirs)?.ok_or_else(gone)?;
            return Ok(Opened { view: View::new(root, true), _root: None });
        }
        let definition = files.containers.definition(&self.entity)?;
        let root = self.mount(files, &definition)?;
        Ok(Opened { view: View::new(duplicate(&root)?, true), _root: Some(root) })
    }

    fn mount(&self, files: &Files, definition: &Definition) -> Result<Arc<OwnedFd>, FilesError> {
        let container = &self.entity.state;
        let id = container.id.to_string();
        let dirs = ContainerDirs { graph: &files.node.layout.graph, runtime: &container.card.runtime, id: &id };
        self.entity.root_access().root(|| {
            let _files = self.entity.hold_files();
            let target = rootfs::mount(&dirs, &definition.rootfs)?;
            // Before its first start its volumes are empty, and would stay so if something were put into them now.
            if volume::are_to_be_filled(&files.node, container, definition) {
                let filled = volume::fill(&files.node, container, definition, &target, &|| {
                    self.access.must_give_way().is_some()
                });
                if let Err(error) = filled {
                    rootfs::unmount(&dirs)?;
                    return Err(error.into());
                }
            }
            Ok(rootfs::detach_to_handle(&target)?)
        })
    }
}

/// The root of a process; `None` when it has ended or is ending. Before and after it is opened the process is the one
/// that is meant, so it was in between.
async fn root_of(process: ProcessRef) -> Result<Option<OwnedFd>, FilesError> {
    let opening = tokio::task::spawn_blocking(move || {
        if process.ending() {
            return Ok(None);
        }
        match rootfs::open_root(Path::new(&format!("/proc/{}/root", process.pid))) {
            _ if process.ending() => Ok(None),
            Ok(root) => Ok(Some(root)),
            Err(source) => Err(FilesError::io("open", Path::new("/"), source)),
        }
    });
    opening.await.map_err(|panic| FilesError::io("open", Path::new("/"), std::io::Error::other(panic)))?
}

fn duplicate(root: &OwnedFd) -> Result<OwnedFd, FilesError> {
    root.try_clone().map_err(|source| FilesError::io("open", Path::new("/"), source))
}

/// Lays the mounts that a start would make, in the order in which a runtime makes them.
fn lay_mounts(
    files: &Files,
    entity: &Entity,
    definition: &Definition,
    view: &mut View,
    path: &Path,
) -> Result<(), FilesError> {
    let mut mounts: Vec<(PathBuf, Option<PathBuf>, bool)> = network_files(files, entity, definition);
    for mount in &definition.mounts {
        let target = PathBuf::from(&mount.target);
        let source = match mount.kind {
            MountKind::Bind | MountKind::Volume => Some(PathBuf::from(&mount.source)),
            MountKind::Tmpfs => None,
        };
        mounts.push((target, source, mount.read_only));
    }
    let mut mounts = latest(mounts, |(target, ..)| target);
    mounts.sort_by_cached_key(|(target, ..)| target.components().count());
    for (target, source, read_only) in mounts {
        // Where nothing leads to, nothing can be found. But a start would make the way there.
        if path.starts_with(&target)
            && let Some(parent) = target.parent()
            && !definition.read_only_rootfs
        {
            let above = view.make_dirs(vec![view.root()], parent.as_os_str(), &mut |_| {})?;
            debug_assert!(last(&above).path.is_absolute());
        }
        let laid = match source {
            Some(source) => view.lay(&target, &source, read_only),
            None => view.lay_memory(&target),
        };
        match laid {
            Ok(()) | Err(FilesError::NoSuchPath { .. } | FilesError::NotADirectory { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lays the files that the engine mounts itself, as far as they exist already.
fn network_files(files: &Files, entity: &Entity, definition: &Definition) -> Vec<(PathBuf, Option<PathBuf>, bool)> {
    let own = files.node.bundle(&entity.state);
    let other = match &definition.namespaces.network {
        Network::Container(other) => other.parse().ok().and_then(|id| files.containers.get(&id)),
        _ => None,
    };
    let network = other.map_or_else(|| own.clone(), |other| files.node.bundle(&other.state));
    let read_only = definition.read_only_rootfs;
    [("/etc/hosts", network.hosts()), ("/etc/hostname", own.hostname()), ("/etc/resolv.conf", network.resolv_conf())]
        .into_iter()
        .filter(|(_, source)| source.exists())
        .map(|(target, source)| (PathBuf::from(target), Some(source), read_only))
        .collect()
}
