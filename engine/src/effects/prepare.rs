//! Preparing a container: its files at creation, its mounts and spec at each start.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use isulad_shim::process::OomCounter;

use super::launch::{LaunchError, joined_process};
use crate::definition::{Definition, Network, Sharing};
use crate::domain::container::{Command, Container};
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::layout::Bundle;
use crate::rootfs::{self, ContainerDirs};
use crate::spec::{self, Joined, Place, cgroup, files};

/// What a start needs to know of its spec.
#[derive(Debug, Clone)]
pub struct Specified {
    pub shim_cgroups: Vec<PathBuf>,
    pub oom: Option<OomCounter>,
}

pub(super) async fn prepare(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    failpoint::hit(failpoint::CREATE_AFTER_INTENT);
    let Some(entity) = engine.containers.get(&id) else { return };
    let working = {
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || {
            let definition = engine.definition(&entity).map_err(LaunchError::from)?;
            let bundle = engine.bundle(&entity.container);
            write_host_files(&bundle, &definition)
        })
    };
    let outcome =
        working.await.unwrap_or_else(|panic| Err(state_error("prepare the container", io::Error::other(panic))));
    failpoint::hit(failpoint::CREATE_PREPARED);
    match outcome {
        Ok(()) => engine.report(id, context, Command::ReportCreated).await,
        Err(error) => {
            discard(engine, id).await;
            let message = crate::api::chain(&error);
            engine.report(id, context, Command::ReportCreateFailed { message }).await;
        }
    }
    failpoint::hit(failpoint::CREATE_DONE);
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

/// hostname, hosts and resolv.conf, which the container sees as files of its own.
fn write_host_files(bundle: &Bundle, definition: &Definition) -> Result<(), LaunchError> {
    // A joined network brings its own files.
    if matches!(definition.namespaces.network, Network::Container(_)) {
        return Ok(());
    }
    files::HostNames::read()
        .and_then(|names| files::write(bundle.path(), definition, &names))
        .map_err(|error| state_error("write hosts, hostname and resolv.conf", io::Error::other(error)))
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
