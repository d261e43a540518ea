//! What a container shall be, as its creator asked for it and as it is kept in `definition.json` beside the bundle.
//!
//! It may hold secrets (environment values), so the file is 0600 and only its digest enters the journal. JSON names its
//! fields, so a field added later with a default reads old files. Whoever makes one has validated it: see `DefinitionError`
//! in the API's create.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::domain::container::{Card, HealthAction, RestartPolicy};
use crate::domain::id::{Digest, Name, Signal, Timestamp};
use crate::network::port::Published;
use crate::rootfs::write_atomically;

/// A validated container definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Shape of this file.
    pub version: u32,
    pub id: String,
    /// The name at creation; today's is in the journal.
    pub name: String,
    /// As it was asked for; `none` without an image.
    pub image: String,
    pub rootfs: Rootfs,
    pub runtime: String,
    pub hostname: String,
    pub process: Process,
    /// Signal number for a stop.
    pub stop_signal: i32,
    /// Seconds of grace for a stop.
    pub stop_timeout: u32,
    pub auto_remove: bool,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    pub devices: Vec<Device>,
    pub read_only_rootfs: bool,
    pub resources: Resources,
    pub oom_score_adj: Option<i32>,
    pub ulimits: Vec<Ulimit>,
    /// As asked for; empty takes the daemon's.
    pub cgroup_parent: String,
    pub security: Security,
    pub namespaces: Namespaces,
    pub dns: Dns,
    /// "host:ip"
    pub extra_hosts: Vec<String>,
    pub log: Log,
    /// Ports that the program says it listens on: "80/tcp", "7000-7010/udp".
    #[serde(default)]
    pub exposed: Vec<String>,
    /// How its health is checked.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    /// An unhealthy one is killed.
    #[serde(default)]
    pub health_exit_on_unhealthy: bool,
    /// Whether it is started again when it has ended.
    #[serde(default)]
    pub restart: Restart,
    /// An init of ours runs the command, passes signals on and reaps.
    #[serde(default)]
    pub init: bool,
}

impl Definition {
    /// What the state machine needs to know of it.
    pub fn card(&self, name: Name, digest: Digest, created_at: Timestamp) -> Card {
        Card {
            name,
            image: self.image.clone(),
            image_id: self.rootfs.image(),
            runtime: self.runtime.clone(),
            command: Card::command_line(self.process.args()),
            definition: digest,
            created_at,
            auto_remove: self.auto_remove,
            tty: self.process.tty,
            open_stdin: self.process.open_stdin,
            stop_signal: Signal(self.stop_signal),
            stop_timeout: self.stop_timeout,
            restart: self.restart.into(),
            health: match (&self.healthcheck, self.health_exit_on_unhealthy) {
                (None, _) => HealthAction::Unwatched,
                (Some(_), false) => HealthAction::Watch,
                (Some(_), true) => HealthAction::Kill,
            },
        }
    }
}

/// The domain's policy as it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// 0 is no limit.
    OnFailure {
        retries: u32,
    },
    OnReboot,
}

impl From<Restart> for RestartPolicy {
    fn from(kept: Restart) -> Self {
        match kept {
            Restart::No => Self::No,
            Restart::Always => Self::Always,
            Restart::UnlessStopped => Self::UnlessStopped,
            Restart::OnFailure { retries } => Self::OnFailure { retries },
            Restart::OnReboot => Self::OnReboot,
        }
    }
}

/// Where the root filesystem comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rootfs {
    /// A directory of the host, through an overlay (`direct: false`) or itself.
    External { dir: String, direct: bool },
    /// The layers of an image through an overlay, bottom first: each is named by the 64 digits of its diff id.
    Image { id: String, layers: Vec<String> },
}

impl Rootfs {
    /// The image that it is made of.
    pub fn image(&self) -> Option<Digest> {
        match self {
            Self::External { .. } => None,
            Self::Image { id, .. } => id.parse().ok(),
        }
    }
}

/// The first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// "KEY=VALUE"
    pub env: Vec<String>,
    /// `name|uid[:group|gid]`, resolved in the rootfs at start; empty is root.
    pub user: String,
    /// Further groups by name or number.
    pub group_add: Vec<String>,
    /// Absolute; empty is `/`.
    pub workdir: String,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
}

impl Process {
    /// Entry point and command: what is executed.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.entrypoint.iter().chain(&self.command).map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// Absolute host path, of a volume that of its data; empty for tmpfs.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    pub read_only: bool,
    /// Empty is `rprivate`.
    pub propagation: String,
    pub options: Vec<String>,
    pub create_source: bool,
    pub non_recursive: bool,
    /// Of the volume; empty for other kinds.
    #[serde(default)]
    pub name: String,
    /// The volume was made for this container and goes with it.
    #[serde(default)]
    pub anonymous: bool,
    /// An empty volume is filled with what the image has at `target`.
    #[serde(default)]
    pub copy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    Bind,
    Tmpfs,
    Volume,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host: String,
    pub container: String,
    /// A subset of "rwm".
    pub permissions: String,
}

/// Limits; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub memory: Option<i64>,
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_swappiness: Option<u64>,
    pub oom_kill_disable: Option<bool>,
    /// CPUs times 10^9; excludes period and quota.
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<u64>,
    pub cpu_period: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub cpu_rt_runtime: Option<i64>,
    pub cpu_rt_period: Option<u64>,
    /// `None`, 0 and -1 are unlimited.
    pub pids_limit: Option<i64>,
    pub blkio_weight: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As in `ulimit`: "nofile".
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    pub privileged: bool,
    /// Upper case, with or without `CAP_`; `ALL` is all.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub sysctls: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// The engine's own profile.
    Default,
    Unconfined,
    /// A profile in the docker format, as JSON.
    Profile(String),
}

/// Which namespaces are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub network: Network,
    pub pid: Sharing,
    pub ipc: Sharing,
    pub uts: Sharing,
    pub cgroup: Sharing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// An own namespace with nothing but `lo`.
    None,
    Host,
    /// The namespace of the container with this full id.
    Container(String),
    /// An own namespace that is attached to networks.
    Named(Named),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Their names, each once; the first has the interface `eth0`.
    pub networks: Vec<String>,
    /// In the first network; `None` is any.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    #[serde(default)]
    pub ports: Vec<Published>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    Own,
    Host,
    /// The namespace of the container with this full id.
    Container(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub servers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// The container's own log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// `false` keeps no log.
    pub enabled: bool,
    /// Bytes before rotation; 0 never rotates.
    pub max_size: u64,
    /// Files kept, the live one included.
    pub max_files: u32,
}

/// Times are nanoseconds, 0 is the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// `["CMD", …]` or `["CMD-SHELL", "…"]`
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub retries: u32,
}

/// Why a container's definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("cannot write the container's definition `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the container's definition `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the container's definition `{path}` is not the one that was recorded at its creation; restore it or remove the container"
    )]
    Altered { path: PathBuf },
    #[error("the container's definition `{path}` is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
}

/// Writes the definition (0600) durably, its directory's entry included, and returns the digest for the journal.
pub fn write(path: &Path, definition: &Definition) -> Result<Digest, DefinitionError> {
    let failed = |source| DefinitionError::Write { path: path.to_owned(), source };
    let bytes = serde_json::to_vec(definition).map_err(|error| failed(error.into()))?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    // The directory was made for this container just before: its own entry in the parent matters as much. On a file
    // system where one sync covers the file and both entries, the next two cost nothing.
    file.sync_all().map_err(failed)?;
    for dir in path.ancestors().skip(1).take(2) {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(digest(&bytes))
}

/// Reads a definition that nothing vouches for any more, and the digest that it has.
pub fn read_unvouched(path: &Path) -> Result<(Definition, Digest), DefinitionError> {
    let bytes = fs::read(path).map_err(|source| DefinitionError::Read { path: path.to_owned(), source })?;
    let definition =
        serde_json::from_slice(&bytes).map_err(|source| DefinitionError::Parse { path: path.to_owned(), source })?;
    Ok((definition, digest(&bytes)))
}

/// Reads the definition that `expected` vouches for: the one at `path`, or one that an update has put beside it.
pub fn read(path: &Path, expected: &Digest) -> Result<Definition, DefinitionError> {
    let bytes = fs::read(path).map_err(|source| DefinitionError::Read { path: path.to_owned(), source })?;
    let other = || fs::read(beside(path, expected)).ok().filter(|bytes| digest(bytes) == *expected);
    let bytes = match digest(&bytes) == *expected {
        true => bytes,
        false => other().ok_or_else(|| DefinitionError::Altered { path: path.to_owned() })?,
    };
    serde_json::from_slice(&bytes).map_err(|source| DefinitionError::Parse { path: path.to_owned(), source })
}

/// Writes a definition (0600) durably beside the present one, which it may take the place of.
pub fn write_beside(path: &Path, definition: &Definition) -> Result<Digest, DefinitionError> {
    let failed = |source| DefinitionError::Write { path: path.to_owned(), source };
    let bytes = serde_json::to_vec(definition).map_err(|error| failed(error.into()))?;
    let digest = digest(&bytes);
    write_atomically(&beside(path, &digest), &bytes, 0o600, true).map_err(|error| failed(error.source))?;
    Ok(digest)
}

/// Moves the definition that `present` vouches for to `path`, if it lies beside it, and removes what else does but the one
/// that is `wanted`. May be repeated from anywhere; `path` always is a whole definition.
pub fn settle(path: &Path, present: &Digest, wanted: Option<&Digest>) -> Result<(), DefinitionError> {
    let failed = |source| DefinitionError::Write { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(path);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    let (of_present, of_wanted) = (beside(path, present), wanted.map(|digest| beside(path, digest)));
    for entry in entries {
        let found = entry.map_err(failed)?.path();
        if found == of_present {
            fs::rename(&found, path).and_then(|()| fs::File::open(dir)?.sync_all()).map_err(failed)?;
        } else if is_beside(path, &found) && Some(&found) != of_wanted.as_ref() {
            fs::remove_file(&found).map_err(failed)?;
        }
    }
    Ok(())
}

/// `definition-<digest>.json`
fn beside(path: &Path, digest: &Digest) -> PathBuf {
    path.with_file_name(format!("{BESIDE}{}.json", digest.hex()))
}

const BESIDE: &str = "definition-";

fn is_beside(path: &Path, other: &Path) -> bool {
    other != path && other.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(BESIDE))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_lies_beside_until_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("definition.json");
        let old = crate::spec::tests::definition();
        let first = write(&path, &old).unwrap();
        let with = |stop_timeout| Definition { stop_timeout, ..old.clone() };
        let (second, third) = (write_beside(&path, &with(1)).unwrap(), write_beside(&path, &with(2)).unwrap());
        for (digest, stop_timeout) in [(first, old.stop_timeout), (second, 1), (third, 2)] {
            assert_eq!(read(&path, &digest).unwrap().stop_timeout, stop_timeout);
        }
        // While an update is under way, what it is to become stays.
        settle(&path, &first, Some(&second)).unwrap();
        assert!(read(&path, &second).is_ok() && matches!(read(&path, &third), Err(DefinitionError::Altered { .. })));
        for _ in 0..2 {
            settle(&path, &second, None).unwrap();
            assert_eq!(read(&path, &second).unwrap().stop_timeout, 1);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        assert!(matches!(read(&path, &first), Err(DefinitionError::Altered { .. })));
    }

    #[test]
    fn a_file_of_before_restart_policies_is_read() {
        let mut value = serde_json::to_value(crate::spec::tests::definition()).unwrap();
        value.as_object_mut().unwrap().remove("restart");
        let read: Definition = serde_json::from_value(value).unwrap();
        assert_eq!(read.restart, Restart::No);
    }
}
