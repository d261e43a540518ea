//! A container as a caller wants it.

use std::collections::HashMap;

use crate::containers::Limits;
use crate::definition::{Device, MountKind, Restart, Seccomp, Ulimit};

/// The specification of a new container, not checked yet. Empty and absent settings are the image's, or a default.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerSpec {
    /// Empty is the id.
    pub name: String,
    /// A reference to an image that is here; empty and `none` with `rootfs`.
    pub image: String,
    /// An absolute directory of the host.
    pub rootfs: String,
    /// The container's writes change that directory.
    pub rootfs_direct: bool,
    pub runtime: String,
    pub hostname: String,
    /// Replaces the image's, and its command too.
    pub entrypoint: Vec<String>,
    pub no_entrypoint: bool,
    pub command: Vec<String>,
    /// `KEY=VALUE`
    pub env: Vec<String>,
    /// `name|uid[:group|gid]`
    pub user: String,
    pub group_add: Vec<String>,
    pub workdir: String,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub auto_remove: bool,
    pub labels: HashMap<String, String>,
    pub annotations: HashMap<String, String>,
    /// A name or a number.
    pub stop_signal: String,
    /// In seconds.
    pub stop_timeout: Option<u32>,
    /// `port[-port][/protocol]`, beside the image's.
    pub expose: Vec<String>,
    pub mounts: Vec<MountSpec>,
    /// `container[:ro|:rw]`
    pub volumes_from: Vec<String>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// An empty path in the container is that of the host, and empty permissions are all.
    pub devices: Vec<Device>,
    pub read_only_rootfs: bool,
    pub limits: Limits,
    pub oom_score_adj: Option<i32>,
    /// They override the daemon's of the same names.
    pub ulimits: Vec<Ulimit>,
    pub cgroup_parent: String,
    pub privileged: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub sysctls: HashMap<String, String>,
    /// `none`, `host`, `container:<reference>`, or names of networks with commas in between.
    pub network: String,
    /// `host` or `container:<reference>`, here and below.
    pub pid: String,
    pub ipc: String,
    /// `host`, here and below.
    pub uts: String,
    pub cgroupns: String,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `host:ip`
    pub extra_hosts: Vec<String>,
    /// Of the network's address range.
    pub ip: String,
    pub ports: Vec<PortSpec>,
    /// Publishes every exposed port at a port of the host's choice.
    pub publish_all: bool,
    pub log: LogSpec,
    pub restart: Restart,
    pub no_healthcheck: bool,
    pub healthcheck: HealthcheckSpec,
    /// An unhealthy container is killed.
    pub health_exit_on_unhealthy: bool,
    pub init: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MountSpec {
    pub kind: MountKind,
    /// A path of the host, or a volume's name, which is empty for an anonymous one.
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub propagation: String,
    pub options: Vec<String>,
    pub create_source: bool,
    pub non_recursive: bool,
    /// An empty volume is not filled with the image's files.
    pub no_copy: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct PortSpec {
    /// Empty is every address.
    pub host_ip: String,
    /// 0 is any that is free.
    pub host_port: u32,
    pub container_port: u32,
    /// Empty is `tcp`.
    pub protocol: String,
}

/// Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HealthcheckSpec {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]`, or `["NONE"]`.
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub retries: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LogSpec {
    /// `json-file` or `none`.
    pub driver: String,
    /// Bytes; -1 is no limit.
    pub max_size: i64,
    pub max_files: u32,
}
