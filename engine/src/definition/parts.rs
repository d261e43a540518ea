//! The parts of a definition beside the process and its root filesystem.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container_log::{LogFile, LogFormat};
use crate::network::port::Published;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
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
    /// The volume's name; empty for other kinds.
    #[serde(default)]
    pub name: String,
    /// The volume was made for this container and is removed with it.
    #[serde(default)]
    pub anonymous: bool,
    /// An empty volume is filled with the image's files at `target`.
    #[serde(default)]
    pub copy: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountKind {
    #[default]
    Bind,
    Tmpfs,
    Volume,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub host: String,
    pub container: String,
    /// A subset of "rwm".
    pub permissions: String,
}

/// Limits; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
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
pub(crate) struct Ulimit {
    /// As in `ulimit`: "nofile".
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Security {
    pub privileged: bool,
    /// Upper case, with or without `CAP_`; `ALL` is all.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub sysctls: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Seccomp {
    /// The engine's own profile.
    #[default]
    Default,
    Unconfined,
    /// A profile in the docker format, as JSON.
    Profile(String),
}

/// Which namespaces are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    pub network: Network,
    pub pid: Sharing,
    pub ipc: Sharing,
    pub uts: Sharing,
    pub cgroup: Sharing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    /// An own namespace with nothing but `lo`.
    None,
    Host,
    /// The namespace of the container with this full id.
    Container(String),
    /// An own namespace that is attached to networks.
    Named(Named),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
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
pub(crate) enum Sharing {
    Own,
    Host,
    /// The namespace of the container with this full id.
    Container(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dns {
    pub servers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// The container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub(crate) enum Log {
    /// Output is not kept.
    None,
    /// In the bundle.
    JsonFile {
        /// Bytes before rotation; 0 never rotates.
        max_size: u64,
        /// Files kept, the live one included.
        max_files: u32,
    },
    /// Kubernetes' format, in a file of kubelet's choice that kubelet rotates.
    Cri {
        /// Absolute. Its directory is there at a start.
        path: PathBuf,
    },
}

impl Log {
    /// The log's file, given the one in the bundle; `None` without a log.
    pub(crate) fn file(&self, in_bundle: PathBuf) -> Option<LogFile> {
        match self {
            Self::None => None,
            Self::JsonFile { .. } => Some(LogFile { path: in_bundle, format: LogFormat::JsonFile }),
            Self::Cri { path } => Some(LogFile { path: path.clone(), format: LogFormat::Cri }),
        }
    }
}

/// Times are nanoseconds, 0 is the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Healthcheck {
    /// `["CMD", …]` or `["CMD-SHELL", "…"]`
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub retries: u32,
}
