//! What a start needs before the shim: mounts and spec. And the undoing of a creation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use isulad_shim::process::OomCounter;

use super::launch::{LaunchError, joined_process};
use crate::definition::{Definition, Network, Sharing};
use crate::domain::container::Container;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::rootfs::{self, ContainerDirs};
use crate::spec::{self, Joined, Place, cgroup};

/// What a start needs to know of its spec.
#[derive(Debug, Clone)]
pub struct Specified {
    pub shim_cgroups: Vec<PathBuf>,
    pub oom: Option<OomCounter>,
}

/// Undoes a creation: nothing ran, so only the bundle is there.
pub async fn discard(engine: &Arc<Engine>, id: ContainerId) {
    let Some(entity) = engine.containers.get(&id) else { return };
    let bundle = engine.bundle(&entity.container);
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(bundle.path())).await;
    if let Ok(Err(error)) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        engine.warn(format!("container {}: cannot remove its directory: {error}", id.short()));
    }
}

/// Mounts the root filesystem and shared memory, builds the spec and writes it. May be repeated; blocks.
pub(super) fn mount_and_specify(
    engine: &Engine,
    container: &Container,
    definition: &Definition,
) -> Result<Specified, LaunchError> {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &engine.layout.graph, runtime: &container.card.runtime, id: &id };
    let joined = joined(engine, definition)?;
    let rootfs = rootfs::mount(&dirs, &definition.rootfs)?;
    let shm = match &definition.namespaces.ipc {
        Sharing::Own => Some(rootfs::mount_shm(&dirs, definition.shm_size)?),
        Sharing::Host => None,
        Sharing::Container(other) => Some(shm_of(engine, other)?),
    };
    failpoint::hit(failpoint::START_MOUNTED);
    let bundle = engine.bundle(container);
    let log = bundle.log();
    let place = Place {
        bundle: bundle.path(),
        rootfs: &rootfs,
        shm: shm.as_deref(),
        joined: &joined,
        cgroup_parent: &engine.config.cgroup_parent,
        systemd_cgroup: engine.config.systemd_cgroup,
        log_path: &log,
    };
    spec::make_sources(definition)?;
    let built = spec::build(definition, &engine.host, &place)?;
    for warning in &built.warnings {
        tracing::warn!(container_id = %container.id.short(), "{warning}");
    }
    rootfs::write_atomically(&bundle.spec(), &built.json, 0o600, false)
        .map_err(|error| state_error("write the spec", io::Error::other(error)))?;
    std::fs::write(bundle.cgroup_note(), &built.cgroup_path)
        .map_err(|source| state_error("note the cgroup", source))?;
    let cgroups = &engine.host.cgroups;
    let oom = cgroups.oom_file(&built.cgroup_path).map(|path| match cgroups.version() {
        cgroup::Version::V2 => OomCounter::V2 { path },
        cgroup::Version::V1 | cgroup::Version::Hybrid => OomCounter::V1 { path },
    });
    Ok(Specified { shim_cgroups: engine.shim_cgroups(), oom })
}

/// The namespaces to be joined, through processes that are alive now.
fn joined(engine: &Engine, definition: &Definition) -> Result<Joined, LaunchError> {
    let path = |sharing: &Sharing, kind: &'static str| match sharing {
        Sharing::Own | Sharing::Host => Ok(None),
        Sharing::Container(other) => namespace_of(engine, other, kind).map(Some),
    };
    let spaces = &definition.namespaces;
    let (network, network_bundle) = match &spaces.network {
        Network::None | Network::Host => (None, None),
        Network::Container(other) => {
            let (id, _) = joined_process(engine, other, "net")?;
            let bundle = engine.containers.get(&id).map(|entity| engine.bundle(&entity.container).path().to_owned());
            (Some(namespace_of(engine, other, "net")?), bundle)
        }
    };
    Ok(Joined {
        network,
        network_bundle,
        pid: path(&spaces.pid, "pid")?,
        ipc: path(&spaces.ipc, "ipc")?,
        uts: path(&spaces.uts, "uts")?,
        cgroup: path(&spaces.cgroup, "cgroup")?,
    })
}

fn namespace_of(engine: &Engine, other: &str, kind: &'static str) -> Result<PathBuf, LaunchError> {
    let (id, process) = joined_process(engine, other, kind)?;
    let reference = isulad_shim::ProcessRef { pid: process.pid.cast_signed(), start_time: process.start_time };
    if !reference.alive() {
        return Err(LaunchError::NotJoinable { id, what: kind });
    }
    Ok(PathBuf::from(format!("/proc/{}/ns/{kind}", process.pid)))
}

fn shm_of(engine: &Engine, other: &str) -> Result<PathBuf, LaunchError> {
    let (id, _) = joined_process(engine, other, "ipc")?;
    let entity = engine.containers.get(&id).ok_or(LaunchError::NotJoinable { id, what: "ipc" })?;
    let definition = engine.definition(&entity)?;
    Ok(match &definition.namespaces.ipc {
        Sharing::Own => engine.bundle(&entity.container).shm(),
        Sharing::Host => PathBuf::from("/dev/shm"),
        // It joined another one itself: follow, the owner must be running too.
        Sharing::Container(owner) => shm_of(engine, owner)?,
    })
}

pub(super) fn state_error(what: &'static str, source: io::Error) -> LaunchError {
    LaunchError::State { what, source }
}
