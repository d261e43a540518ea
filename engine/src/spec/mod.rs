//! The OCI spec of a container, from its definition and the host.
//!
//! [`build`] runs at every start, with the root file system mounted, and is pure apart from reading: the passwd and
//! group files as the container will see them, the places that the runtime will touch, the devices asked for, and bind
//! sources. Settings that this kernel or the daemon's privileges do not allow are left out with a warning where that is
//! harmless, and are an error where it is not. The output has the few shapes of `oci`; both runtimes read them.

mod capabilities;
pub(crate) mod cgroup;
mod devices;
mod exec;
pub(crate) mod files;
mod freezer;
mod group_path;
mod host;
mod host_mounts;
mod mounts;
mod namespaces;
mod oci;
mod paths;
mod process;
mod resources;
mod seccomp;
mod sysctl;
mod targets;
mod user;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::definition::{Definition, Log, Sharing};
use crate::rootfs::{BeneathError, PlannedRoot};
use crate::session::Size;

pub(crate) use capabilities::CapabilityError;
pub(crate) use exec::{Program, exec};
pub(crate) use group_path::{GroupPath, NoteError};
pub(crate) use host::Host;
pub(crate) use mounts::{asks_for_recursion, make_sources};
pub(crate) use resources::change as change_limits;
pub(crate) use seccomp::ProfileError;
pub(crate) use user::UserError;

/// The cgroup parent when neither the container nor the daemon names one.
pub(crate) const DEFAULT_CGROUP_PARENT: &str = "/isulad";

/// The engine's inputs to one start of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Holds the container's `hosts`, `hostname` and `resolv.conf`.
    pub bundle: &'a Path,
    /// The mounted root.
    pub rootfs: &'a Path,
    /// The source of `/dev/shm`: the container's own mount, or that of the container whose ipc namespace it joins. Not
    /// needed with the host's ipc namespace; without it otherwise, `/dev/shm` is a tmpfs that the runtime mounts.
    pub shm: Option<&'a Path>,
    pub joined: &'a Joined,
    /// The daemon's; the definition's own takes precedence.
    pub cgroup_parent: &'a str,
    /// The runtime uses systemd for cgroups.
    pub systemd_cgroup: bool,
    /// The container's log, named in an annotation when there is one.
    pub log_path: &'a Path,
    /// The runtime can make a bind read-only with all mounts below it.
    pub recursive_read_only: bool,
    /// The engine's init on the host, for a container that has asked for it.
    pub init: &'a Path,
    /// The terminal's size from the first moment, before a client resizes it.
    pub console_size: Option<Size>,
}

/// Namespaces of other containers, as `/proc/<pid>/ns/<kind>` of a process that was verified to be theirs. One is
/// needed for each namespace with `container` in the definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    pub network: Option<PathBuf>,
    pub pid: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    pub cgroup: Option<PathBuf>,
    /// The bundle of the container whose network is joined: its `hosts` and `resolv.conf` are used.
    pub network_bundle: Option<PathBuf>,
}

/// A spec that is ready to be written to `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    pub json: Vec<u8>,
    /// For the user who asked for the container.
    pub warnings: Vec<String>,
    pub uid: u32,
    pub gid: u32,
    /// The container's working directory, where it is to be made in the root before the runtime runs: no link is on the
    /// way.
    pub missing_workdir: Option<PathBuf>,
    pub group: GroupPath,
}

/// Why a spec cannot be built. The text is shown to the user.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("no command specified")]
    NoCommand,
    #[error("the working directory `{path}` is invalid, it needs to be an absolute path")]
    RelativeWorkdir { path: String },
    #[error("cannot make the working directory `{path}` of the container")]
    Workdir { path: String, source: BeneathError },
    #[error("cannot open the container's root")]
    Root { source: io::Error },
    #[error(
        "`{path}` of the container's root is {found} where {wanted} is needed; change the image or root file system, or mount something else there"
    )]
    NotPlain { path: String, found: &'static str, wanted: &'static str },
    #[error("cannot use `{path}` of the container's root")]
    Target { path: String, source: BeneathError },
    #[error("path `{path}` is not valid UTF-8, which the OCI spec requires")]
    NotUtf8 { path: PathBuf },
    #[error("cannot find user or group `{user}` of the container")]
    User { user: String, source: UserError },
    #[error("invalid capabilities")]
    Capability(#[from] CapabilityError),
    #[error("invalid seccomp profile")]
    Seccomp(#[from] ProfileError),
    #[error("unknown ulimit `{name}`")]
    UnknownUlimit { name: String },
    #[error("ulimit `{name}`: soft limit {soft} exceeds hard limit {hard}")]
    UlimitOrder { name: String, soft: i64, hard: i64 },
    #[error("bind source path `{path}` does not exist")]
    MissingSource { path: String },
    #[error("the directory `{path}` of volume `{name}` is gone; make it again to go on with an empty one")]
    MissingVolume { name: String, path: String },
    #[error("cannot make bind source path `{path}`")]
    MakeSource { path: String, source: io::Error },
    #[error("mount target `{path}` is not an absolute path below `/`")]
    MountTarget { path: String },
    #[error("unknown mount propagation `{propagation}`")]
    Propagation { propagation: String },
    #[error("path `{path}` is mounted on `{mount}`, which is not a {wanted} mount")]
    NotPropagating { path: String, mount: PathBuf, wanted: &'static str },
    #[error("cannot examine the host's mounts")]
    HostMounts { source: io::Error },
    #[error("cannot use device `{path}`")]
    Device { path: String, source: io::Error },
    #[error("`{path}` is not a device")]
    NotADevice { path: String },
    #[error("sysctl `{key}` is not namespaced and cannot be set for a container")]
    GlobalSysctl { key: String },
    #[error("sysctl `{key}` cannot be set in the {namespace} namespace of the host or of another container")]
    SharedSysctl { key: String, namespace: &'static str },
    #[error("the process for the {kind} namespace of container `{container}` is not known")]
    NotJoinable { kind: &'static str, container: String },
    #[error("cgroup parent `{parent}` must be a plain path without `..`")]
    CgroupParent { parent: String },
    #[error("cgroup parent `{parent}` is not a systemd slice")]
    NotASlice { parent: String },
    #[error("cannot use the working directory `{path}` of the container")]
    ExecWorkdir { path: String, source: io::Error },
    #[error("cannot read the spec of the container")]
    Decode { source: serde_json::Error },
    #[error("cannot write the spec as JSON")]
    Encode { source: serde_json::Error },
}

/// Builds the spec of a container for one start.
pub(crate) fn build(definition: &Definition, host: &Host, place: &Place<'_>) -> Result<Built, SpecError> {
    let mut warnings = Vec::new();
    let privileged = definition.security.privileged;
    let mounts = mounts::plan(definition, place, &mut warnings)?;
    let identity = user::lookup(&mounts.root, &definition.process)?;
    let capabilities = capabilities::resolve(&definition.security, host, &mut warnings)?;
    let (mut devices, device_rules) = devices::plan(&definition.devices, privileged)?;
    targets::check(&mounts.root, &mut devices, privileged, definition.process.tty)?;
    let group = cgroup::Placement::of(definition, place.cgroup_parent, place.systemd_cgroup)?;
    let seccomp = seccomp::plan(&definition.security, capabilities, host, &mut warnings)?;
    let spec = oci::Spec {
        oci_version: oci::VERSION,
        root: oci::Root { path: utf8(place.rootfs)?, readonly: definition.read_only_rootfs },
        process: process::plan(definition, host, place.console_size, &identity, capabilities, &mut warnings)?,
        hostname: hostname(definition),
        mounts: mounts.list,
        annotations: annotations(definition, place)?,
        linux: oci::Linux {
            namespaces: namespaces::plan(&definition.namespaces, host, place.joined)?,
            resources: resources::plan(definition, host, device_rules, &mut warnings),
            cgroups_path: &group.for_runtime,
            devices,
            seccomp: seccomp.as_deref(),
            sysctl: sysctl::plan(definition)?,
            masked_paths: if privileged { &[] } else { paths::MASKED },
            readonly_paths: if privileged { &[] } else { paths::READ_ONLY },
            rootfs_propagation: mounts.rootfs_propagation,
        },
    };
    let missing_workdir = targets::missing_workdir(&mounts.root, spec.process.cwd)?;
    let json = serde_json::to_vec(&spec).map_err(|source| SpecError::Encode { source })?;
    Ok(Built { json, warnings, uid: identity.uid, gid: identity.gid, missing_workdir, group: group.path })
}

/// The root as the container will see it, with the user's mounts.
pub(crate) fn planned_root(definition: &Definition, rootfs: &Path) -> Result<PlannedRoot, SpecError> {
    Ok(mounts::of_user(definition, rootfs)?.1)
}

/// Only in a namespace of the container's own: in any other it would rename the host or another container.
fn hostname(definition: &Definition) -> Option<&str> {
    let own = definition.namespaces.uts == Sharing::Own && !definition.hostname.is_empty();
    own.then_some(definition.hostname.as_str())
}

fn annotations<'a>(definition: &'a Definition, place: &Place<'a>) -> Result<BTreeMap<&'a str, &'a str>, SpecError> {
    let mut annotations: BTreeMap<_, _> =
        definition.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let log_path = match &definition.log {
        Log::None => None,
        Log::JsonFile { .. } => Some(place.log_path),
        Log::Cri { path } => Some(path.as_path()),
    };
    if let Some(path) = log_path {
        annotations.insert("log.console.file", utf8(path)?);
    }
    Ok(annotations)
}

fn utf8(path: &Path) -> Result<&str, SpecError> {
    path.to_str().ok_or_else(|| SpecError::NotUtf8 { path: path.to_path_buf() })
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod runtime_tests;
