//! The preparation of a start before its shim: mounts and spec.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use isulad_shim::ProcessRef;
use isulad_shim::process::OomCounter;

use super::launch::{LaunchError, joined_process};
use super::network::Attached;
use super::recursion;
use crate::definition::{Definition, Network, Sharing, Ulimit};
use crate::domain::container::Container;
use crate::domain::id::ContainerId;
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::node::Node;
use crate::rootfs::{self, BeneathError, ContainerDirs, beneath};
use crate::session::Size;
use crate::spec::files::{self, HostNames};
use crate::spec::{self, Joined, Place, SpecError, cgroup};

/// Facts about the written spec that the start needs further on.
#[derive(Debug, Clone)]
pub(super) struct Specified {
    pub shim_cgroups: Vec<PathBuf>,
    pub oom: Option<OomCounter>,
    /// The processes of joined namespaces, which the spec names by pid.
    pub joined: Vec<(ContainerId, ProcessRef)>,
}

/// Mounts the root filesystem and shared memory, builds the spec and writes it. May be repeated; blocks.
pub(super) fn mount_and_specify(
    effects: &ContainerEffects,
    container: &Container,
    definition: &Definition,
    attached: Option<&Attached>,
    size: Option<Size>,
) -> Result<Specified, LaunchError> {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &effects.node.layout.graph, runtime: &container.card.runtime, id: &id };
    let (mut joined, processes) = joined(effects, definition)?;
    if let Some(attached) = attached {
        joined.network = Some(attached.netns.clone());
        let names = HostNames::read()?;
        files::write(effects.node.bundle(container).path(), definition, &names, &attached.gives)?;
    } else {
        files::write_missing(effects.node.bundle(container).path(), definition)?;
    }
    let rootfs = mount_root(&effects.node, container, definition)?;
    let shm = match &definition.namespaces.ipc {
        Sharing::Own => Some(rootfs::mount_shm(&dirs, definition.shm_size)?),
        Sharing::Host => None,
        Sharing::Container(other) => Some(shm_of(effects, other)?),
    };
    failpoint::hit(failpoint::START_MOUNTED);
    let bundle = effects.node.bundle(container);
    let log = bundle.log();
    let init = effects.node.layout.init();
    if definition.init {
        put_init(&init).map_err(|source| state_error("put the init in its place", source))?;
    }
    // Only for definitions that ask for it, which is seldom: the runtime has to be asked for its version.
    let recursive_read_only = spec::asks_for_recursion(definition)?
        && effects
            .node
            .runtime(&container.card.runtime)
            .is_ok_and(|runtime| recursion::supports(&effects.node, &runtime));
    let place = Place {
        recursive_read_only,
        init: &init,
        bundle: bundle.path(),
        rootfs: &rootfs,
        shm: shm.as_deref(),
        joined: &joined,
        cgroup_parent: &effects.node.config.cgroup_parent,
        systemd_cgroup: effects.node.config.systemd_cgroup,
        log_path: &log,
        console_size: size,
    };
    spec::make_sources(definition)?;
    let limited = with_open_files(definition, effects.node.config.open_files);
    let built = spec::build(&limited, &effects.node.host, &place)?;
    for warning in &built.warnings {
        tracing::warn!(container_id = %container.id.short(), "{warning}");
    }
    if let Some(entity) = effects.containers.get(&container.id) {
        entity.put_warnings(built.warnings.clone());
    }
    if let Some(workdir) = &built.missing_workdir {
        make_workdir(&rootfs, workdir)?;
    }
    rootfs::write_atomically(&bundle.spec(), &built.json, 0o600, false)
        .map_err(|error| state_error("write the spec", io::Error::other(error)))?;
    // Not synced: a power cut that loses the note ends the container's processes, too, and a lost note is computed
    // again (`Containers::group`).
    rootfs::write_atomically(&bundle.cgroup_note(), built.group.as_str().as_bytes(), 0o600, false)
        .map_err(|error| state_error("note the cgroup", io::Error::other(error)))?;
    let cgroups = &effects.node.host.cgroups;
    let oom = cgroups.oom_file(&built.group).map(|path| match cgroups.version() {
        cgroup::Version::V2 => OomCounter::V2 { path },
        cgroup::Version::V1 | cgroup::Version::Hybrid => OomCounter::V1 { path },
    });
    Ok(Specified { shim_cgroups: effects.node.shim_cgroups(), oom, joined: processes })
}

/// Writes the init, which is part of this program, to a path that containers can mount. Written anew only when it
/// differs: running containers have it mounted.
fn put_init(path: &Path) -> io::Result<()> {
    /// Built from `engine/init` by the build script.
    static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/isulad-init"));
    let there = std::fs::read(path).is_ok_and(|bytes| bytes == PROGRAM);
    if there { Ok(()) } else { rootfs::write_atomically(path, PROGRAM, 0o755, false).map_err(|error| error.source) }
}

/// Mounts the root filesystem and returns its path.
pub(super) fn mount_root(node: &Node, container: &Container, definition: &Definition) -> Result<PathBuf, LaunchError> {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &node.layout.graph, runtime: &container.card.runtime, id: &id };
    Ok(rootfs::mount(&dirs, &definition.rootfs)?)
}

/// Makes a missing working directory, owned by root. The runtimes would do so too, but their message for one that
/// cannot be made does not explain the cause.
fn make_workdir(rootfs: &Path, workdir: &Path) -> Result<(), LaunchError> {
    let failed = |source| SpecError::Workdir { path: workdir.display().to_string(), source };
    let open = |source| BeneathError::Open { path: rootfs.to_path_buf(), source };
    let root = rootfs::open_root(rootfs).map_err(|error| failed(open(error)))?;
    Ok(beneath::make_dirs(&root, workdir, 0o755, (0, 0)).map(drop).map_err(failed)?)
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
fn joined(
    effects: &ContainerEffects,
    definition: &Definition,
) -> Result<(Joined, Vec<(ContainerId, ProcessRef)>), LaunchError> {
    let mut processes = Vec::new();
    let mut of_container = |other: &str, kind: &'static str| {
        let (id, process) = joined_process(&effects.containers, other, kind)?;
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
        let entity = other.parse().ok().and_then(|id| effects.containers.get(&id));
        joined.network_bundle = entity.map(|entity| effects.node.bundle(&entity.state).path().to_owned());
    }
    Ok((joined, processes))
}

fn shm_of(effects: &ContainerEffects, other: &str) -> Result<PathBuf, LaunchError> {
    let (id, _) = joined_process(&effects.containers, other, "ipc")?;
    let entity = effects.containers.get(&id).ok_or(LaunchError::NotJoinable { id, what: "ipc" })?;
    let definition = effects.containers.definition(&entity)?;
    Ok(match &definition.namespaces.ipc {
        Sharing::Own => effects.node.bundle(&entity.state).shm(),
        Sharing::Host => PathBuf::from("/dev/shm"),
        // That container has joined another one itself: its owner must be running too.
        Sharing::Container(owner) => shm_of(effects, owner)?,
    })
}

pub(super) fn state_error(what: &'static str, source: io::Error) -> LaunchError {
    LaunchError::State { what, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::cause::chain;

    fn made(root: &Path, workdir: &str) -> Result<(), String> {
        make_workdir(root, Path::new(workdir)).map_err(|error| chain(&error))
    }

    #[test]
    fn a_missing_working_directory_is_made_or_named_in_the_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for workdir in ["/srv/app/", "/srv/app", "/"] {
            made(root.path(), workdir).unwrap();
        }
        let facts = fs::metadata(root.path().join("srv/app")).unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.permissions().mode() & 0o7777), (0, 0, 0o755));
        assert_eq!(
            made(root.path(), "/file/below").unwrap_err(),
            "cannot make the working directory `/file/below` of the container: `/file` is not a directory"
        );
    }
}
