//! The errors of networks.

use std::io;
use std::path::PathBuf;

use super::conf::ConfError;
use super::plugin::PluginError;
use engine_domain::text::cut;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("No such network: {name}; {known}")]
    NoSuchNetwork { name: String, known: String },
    #[error(transparent)]
    Conf(#[from] ConfError),
    #[error(
        "Invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-]* of at most {} characters are allowed, and not none, host, container or default",
        super::bridge::NAME_LIMIT
    )]
    InvalidName { name: String },
    #[error("network {name} exists already, in `{path}`")]
    Exists { name: String, path: PathBuf },
    #[error("network driver `{driver}` is unknown: bridge is the only one")]
    Driver { driver: String },
    #[error("{problem}")]
    Subnet { problem: String },
    #[error("subnet {subnet} overlaps with {other}")]
    Overlap { subnet: String, other: String },
    #[error("every subnet of {pool} overlaps with one that is in use; give one with --subnet")]
    NoSubnet { pool: String },
    #[error("network {name} is in use by {users}")]
    InUse { name: String, users: String },
    #[error("network {name} is being removed")]
    BeingRemoved { name: String },
    #[error("network {name} was not made by `isula network create`; remove its file `{path}` to remove it")]
    NotOurs { name: String, path: PathBuf },
    #[error("network {network}")]
    Plugin { network: String, source: PluginError },
    #[error("cannot use the network: {0}")]
    Missing(#[source] PluginError),
    #[error("network {network} has no plugin that publishes ports (one with the capability portMappings)")]
    NoPorts { network: String },
    #[error("host port {port} cannot be published: network {network} gives no {family}address that it could lead to")]
    Unreachable { port: String, network: String, family: &'static str },
    #[error(
        "host port {port} cannot be published: the plugin `portmap` leads nothing on that is sent to the IPv6 loopback; give another address, or none"
    )]
    LoopbackV6 { port: String },
    #[error("network {network}: plugin `{plugin}` gave {given} instead of the address {wanted}")]
    WrongAddress { network: String, plugin: String, given: String, wanted: String },
    #[error("host port {port} is already published by container {}{}", cut(holder, 12), late(holder))]
    PortTaken { port: String, holder: String },
    #[error("host port {port} cannot be published: a program of the host has it, or it may not be bound")]
    PortInUse { port: String, source: io::Error },
    #[error(
        "the networks and ports of earlier containers are not known after {seconds} s: {step}; see whether the disk answers, then try again"
    )]
    Unknown { seconds: u64, step: String },
    #[error("attaching to networks did not finish within {seconds} s: {step}")]
    Slow { seconds: u64, step: String },
    #[error("detaching from networks did not finish within {seconds} s: {step}")]
    SlowDetach { seconds: u64, step: String },
    #[error(
        "`{dir}` is locked for longer than {seconds} s: another daemon makes or removes a network there; try again when it has finished (`fuser {dir}` shows its process)"
    )]
    Locked { dir: PathBuf, seconds: u64 },
    #[error(
        "`{path}` records a network that was not given back, which is not tried again: remove it when nothing of it is left"
    )]
    GivenUp { path: PathBuf },
    #[error("network {networks}: a plugin of an earlier attempt does not end{}: it has `{call}` locked", killed(by))]
    Busy { networks: String, call: PathBuf, by: Vec<i32> },
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the record of the network `{path}` is not valid")]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("the record of the network `{path}` is not valid: {problem}")]
    RecordContent { path: PathBuf, problem: String },
    #[error("cannot ask the kernel about network interfaces")]
    Netlink { source: io::Error },
    #[error("a task of the network ended abnormally: {message}")]
    Task { message: String },
}

/// Added for a holder that is a pending attachment: its id, as plugins know it, has a dash.
fn late(holder: &str) -> &'static str {
    if holder.contains('-') { ", whose network is not given back yet (see `isula info`)" } else { "" }
}

fn killed(pids: &[i32]) -> String {
    if pids.is_empty() {
        return String::new();
    }
    let pids: Vec<_> = pids.iter().map(i32::to_string).collect();
    format!(", though it was killed (process {})", pids.join(", "))
}

impl NetworkError {
    pub(super) fn io<'a>(action: &'static str, path: &'a std::path::Path) -> impl Fn(io::Error) -> Self + use<'a> {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
