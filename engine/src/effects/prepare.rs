//! What a start needs before the shim: mounts and spec.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use isulad_shim::ProcessRef;
use isulad_shim::process::OomCounter;

use super::launch::{LaunchError, joined_process};
use crate::definition::{Definition, Network, Sharing, Ulimit};
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
    /// Processes whose namespaces are named by their pids.
    pub joined: Vec<(ContainerId, ProcessRef)>,
}

/// Mounts the root filesystem and shared memory, builds the spec and writes it. May be repeated; blocks.
pub(super) fn mount_and_specify(
    engine: &Engine,
    container: &Container,
    definition: &Definition,
) -> Result<Specified, LaunchError> {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &engine.layout.graph, runtime: &container.card.runtime, id: &id };
    let (joined, processes) = joined(engine, definition)?;
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
    let limited = with_open_files(definition, engine.config.open_files);
    let built = spec::build(&limited, &engine.host, &place)?;
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
    Ok(Specified { shim_cgroups: engine.shim_cgroups(), oom, joined: processes })
}

/// The limit of open files that the daemon itself was started with, unless the container has one of its own.
fn with_open_files(definition: &Definition, limits: Option<(i64, i64)>) -> Cow<'_, Definition> {
    match limits {
        Some((soft, hard)) if definition.ulimits.iter().all(|limit| limit.name != "nofile") => {
            let mut definition = definition.clone();
            definition.ulimits.push(Ulimit { name: "nofile".to_owned(), soft, hard });
            Cow::Owned(definition)
        }
        Some(_) | None => Cow::Borrowed(definition),
    }
}

/// The namespaces to be joined, by the pids of processes that are alive now, and those processes.
fn joined(engine: &Engine, definition: &Definition) -> Result<(Joined, Vec<(ContainerId, ProcessRef)>), LaunchError> {
    let mut processes = Vec::new();
    let mut of_container = |other: &str, kind: &'static str| {
        let (id, process) = joined_process(engine, other, kind)?;
        processes.push((id, process));
        Ok::<_, LaunchError>(PathBuf::from(format!("/proc/{}/ns/{kind}", process.pid)))
    };
    let mut of_sharing = |sharing: &Sharing, kind| match sharing {
        Sharing::Own | Sharing::Host => Ok(None),
        Sharing::Container(other) => of_container(other, kind).map(Some),
    };
    let spaces = &definition.namespaces;
    let mut joined = Joined {
        pid: of_sharing(&spaces.pid, "pid")?,
        ipc: of_sharing(&spaces.ipc, "ipc")?,
        uts: of_sharing(&spaces.uts, "uts")?,
        cgroup: of_sharing(&spaces.cgroup, "cgroup")?,
        ..Joined::default()
    };
    if let Network::Container(other) = &spaces.network {
        joined.network = Some(of_container(other, "net")?);
        let entity = other.parse().ok().and_then(|id| engine.containers.get(&id));
        joined.network_bundle = entity.map(|entity| engine.bundle(&entity.container).path().to_owned());
    }
    Ok((joined, processes))
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
