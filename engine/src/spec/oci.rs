//! The part of the OCI runtime spec that the engine writes, as it stands in `config.json`.
//!
//! Shapes of the engine's own rather than a library's: they borrow from the definition, hold only the used fields, and
//! are written at every start. The tests read them back with the `oci-spec` crate.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

/// Old enough for every runtime in use.
pub(super) const VERSION: &str = "1.0.2";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    pub oci_version: &'static str,
    pub root: Root<'a>,
    pub process: Process<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<&'a str>,
    pub mounts: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'a str, &'a str>,
    pub linux: Linux<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Root<'a> {
    pub path: &'a str,
    pub readonly: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process<'a> {
    pub terminal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    pub user: User,
    pub args: Vec<&'a str>,
    pub env: Vec<Cow<'a, str>>,
    pub cwd: &'a str,
    pub capabilities: Capabilities,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    pub oom_score_adj: i32,
}

#[derive(Debug, Serialize)]
pub(super) struct ConsoleSize {
    pub height: u16,
    pub width: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// Inheritable and ambient stay empty: only capabilities of the program's file or of its user survive an exec.
#[derive(Debug, Serialize)]
pub(super) struct Capabilities {
    pub bounding: Vec<&'static str>,
    pub effective: Vec<&'static str>,
    pub permitted: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Rlimit {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Mount<'a> {
    pub destination: Cow<'a, str>,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub source: Cow<'a, str>,
    pub options: Vec<Cow<'a, str>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Linux<'a> {
    pub namespaces: Vec<Namespace<'a>>,
    pub resources: Resources<'a>,
    pub cgroups_path: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<&'a Seccomp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctl: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub masked_paths: &'a [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub readonly_paths: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Namespace<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resources<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRule>,
    #[serde(skip_serializing_if = "Memory::is_empty")]
    pub memory: Memory,
    #[serde(skip_serializing_if = "Cpu::is_empty")]
    pub cpu: Cpu<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
}

impl Memory {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cpu<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<&'a str>,
}

impl Cpu<'_> {
    fn is_empty(&self) -> bool {
        *self == Cpu::default()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Pids {
    pub limit: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct BlockIo {
    pub weight: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DeviceRule {
    pub allow: bool,
    #[serde(rename = "type")]
    pub kind: char,
    /// `None` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    pub access: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    pub file_mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seccomp {
    pub default_action: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    pub architectures: Vec<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    pub syscalls: Vec<Syscalls>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Syscalls {
    pub names: Vec<Cow<'static, str>>,
    pub action: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Argument {
    pub index: u32,
    pub value: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub value_two: u64,
    pub op: Cow<'static, str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // Serde passes a reference.
fn is_zero(value: &u64) -> bool {
    *value == 0
}
