//! A container's definition, as requested by its creator and stored in `definition.json` beside the bundle.
//!
//! It may hold secrets (environment values), so the file is 0600 and only its digest enters the journal. JSON names its
//! fields, so a field added later with a default reads old files. Definitions are validated by their maker: see
//! `containers/create/validate.rs`.

mod file;
mod parts;
mod recent;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::container::{Card, HealthAction, RestartPolicy};
use crate::domain::id::{Digest, Name, Signal, Timestamp};
use crate::layout::Layout;
pub(crate) use crate::rootfs::Rootfs;
pub(crate) use file::{DefinitionError, read, read_unverified, settle, write, write_pending};
pub(crate) use parts::{
    Device, Dns, Healthcheck, Log, Mount, MountKind, Named, Namespaces, Network, Resources, Seccomp, Security, Sharing,
    Ulimit,
};
pub(crate) use recent::Recent;

/// A validated container definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// Schema version of this file.
    pub version: u32,
    pub id: String,
    /// The name at creation; the present one is in the journal.
    pub name: String,
    /// As requested; `none` without an image.
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
    /// As requested; empty means the daemon's.
    pub cgroup_parent: String,
    pub security: Security,
    pub namespaces: Namespaces,
    pub dns: Dns,
    /// "host:ip"
    pub extra_hosts: Vec<String>,
    pub log: Log,
    /// Ports that the program is documented to listen on: "80/tcp", "7000-7010/udp".
    #[serde(default)]
    pub exposed: Vec<String>,
    /// The health probe.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    /// An unhealthy container is killed.
    #[serde(default)]
    pub health_exit_on_unhealthy: bool,
    /// The restart policy.
    #[serde(default)]
    pub restart: Restart,
    /// The engine's init runs the command, passes signals on and reaps.
    #[serde(default)]
    pub init: bool,
}

impl Definition {
    /// Sets the volumes' sources to their present place in the graph.
    pub(crate) fn place_volumes(&mut self, layout: &Layout) {
        for mount in self.mounts.iter_mut().filter(|mount| mount.kind == MountKind::Volume) {
            let data = mount.name.parse().ok().map(|name| layout.volume_data(&name));
            if let Some(data) = data.and_then(|data| data.into_os_string().into_string().ok()) {
                mount.source = data;
            }
        }
    }

    /// The part of the definition that lists and the state machine need.
    pub(crate) fn card(&self, name: Name, digest: Digest, created_at: Timestamp) -> Card {
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

/// The domain's policy in its stored form.
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

/// The first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
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
    /// Entry point and command, as executed.
    pub(crate) fn args(&self) -> impl Iterator<Item = &str> {
        self.entrypoint.iter().chain(&self.command).map(String::as_str)
    }
}
