//! Converts a create request to a definition: every invalid request that can be detected before anything is made is
//! refused here.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::isula::v1::{self as wire, CreateRequest};

use super::image::{self, ImageForCreate};
use super::{given_limits, health, network, restart, volumes};
use crate::api::native::ApiError;
use crate::config::Config;
use crate::containers::{Target, suits_removal};
use crate::definition::{
    Definition, Device, Dns, Log, Mount, Namespaces, Process, Resources, Rootfs, Seccomp, Security, Sharing, Ulimit,
};
use crate::domain::id::{ContainerId, Name};
use crate::engine::Engine;
use crate::network::conf::Confs;
use crate::signals;
use crate::spec::files;

const VERSION: u32 = 1;
const DEFAULT_SHM: u64 = 64 << 20;
const DEFAULT_GRACE: u32 = 10;

type Checked<T> = Result<T, ApiError>;

/// The objects to which a request refers.
#[derive(Debug, Default)]
pub(super) struct References {
    pub image: Option<ImageForCreate>,
    /// Mounts of other containers.
    pub inherited: Vec<Mount>,
    /// The configured networks, if the request names any.
    pub networks: Confs,
}

/// The definition and warnings for the client.
pub(super) fn definition(
    engine: &Arc<Engine>,
    id: ContainerId,
    name: &Name,
    mut request: CreateRequest,
    references: References,
) -> Checked<(Definition, Vec<String>)> {
    let config = &engine.config;
    let mut warnings = Vec::new();
    let rootfs = rootfs(&request, references.image.as_ref())?;
    let mut from_image = image::merge(&mut request, references.image.as_ref(), &mut warnings)?;
    let healthcheck = health::check(&request, from_image.healthcheck.take())?;
    let network = network::network(&request, &from_image.exposed, &references.networks, |other| joined(engine, other))?;
    let namespaces = Namespaces {
        pid: sharing(engine, "pid", &request.pid, true)?,
        ipc: sharing(engine, "ipc", &request.ipc, true)?,
        uts: sharing(engine, "uts", &request.uts, false)?,
        cgroup: sharing(engine, "cgroupns", &request.cgroupns, false)?,
        network,
    };
    let restart = request.restart.as_ref().map(restart::policy).transpose()?.unwrap_or_default();
    let definition = Definition {
        version: VERSION,
        id: id.to_string(),
        name: name.to_string(),
        image: references.image.map_or_else(|| "none".to_owned(), |image| image.name),
        rootfs,
        runtime: runtime(config, &request.runtime)?,
        hostname: hostname(id, &request.hostname, &namespaces)?,
        stop_signal: stop_signal(&request.stop_signal)?,
        stop_timeout: request.stop_timeout.unwrap_or(DEFAULT_GRACE),
        auto_remove: request.auto_remove,
        mounts: volumes::mounts(&engine.layout, &request.mounts, references.inherited, &from_image.volumes)?,
        shm_size: if request.shm_size == 0 { DEFAULT_SHM } else { request.shm_size },
        devices: request.devices.iter().map(device).collect::<Checked<_>>()?,
        read_only_rootfs: request.read_only_rootfs,
        resources: limits(request.resources.unwrap_or_default(), &mut warnings)?,
        oom_score_adj: oom_score_adj(request.oom_score_adj)?,
        ulimits: ulimits(config, &request.ulimits)?,
        cgroup_parent: cgroup_parent(request.cgroup_parent)?,
        security: Security {
            privileged: request.privileged,
            cap_add: request.cap_add,
            cap_drop: request.cap_drop,
            no_new_privileges: request.no_new_privileges,
            seccomp: match request.seccomp.as_str() {
                "" => Seccomp::Default,
                "unconfined" => Seccomp::Unconfined,
                _ => Seccomp::Profile(request.seccomp),
            },
            sysctls: request.sysctls.into_iter().collect(),
        },
        namespaces,
        dns: dns(request.dns, request.dns_search, request.dns_options)?,
        extra_hosts: extra_hosts(request.extra_hosts)?,
        log: log(config, request.log.unwrap_or_default(), &mut warnings)?,
        labels: keyed("label", request.labels)?,
        annotations: keyed("annotation", request.annotations)?,
        process: process(
            request.entrypoint,
            request.command,
            request.env,
            request.user,
            request.group_add,
            request.workdir,
            (request.tty, request.open_stdin, request.stdin_once),
        )?,
        exposed: from_image.exposed,
        healthcheck,
        health_exit_on_unhealthy: request.health_exit_on_unhealthy,
        restart: suits_removal(restart, request.auto_remove)?,
        init: request.init,
    };
    Ok((definition, warnings))
}

fn extra_hosts(entries: Vec<String>) -> Checked<Vec<String>> {
    match entries.iter().find(|entry| files::extra_host(entry).is_none()) {
        Some(entry) => Err(ApiError::invalid(format!("extra host `{entry}` is not of the form host:ip"))),
        None => Ok(entries),
    }
}

fn cgroup_parent(parent: String) -> Checked<String> {
    if parent.split('/').any(|part| part == "..") || parent.contains('\0') {
        return Err(ApiError::invalid(format!("cgroup parent `{parent}` climbs out of the cgroup root")));
    }
    Ok(parent)
}

/// The root filesystem: an image's, or a directory of the host.
fn rootfs(request: &CreateRequest, image: Option<&ImageForCreate>) -> Checked<Rootfs> {
    match (image, request.rootfs.is_empty()) {
        (Some(image), true) => Ok(Rootfs::Image { id: image.id.to_string(), layers: image.layers.clone() }),
        (Some(image), false) => Err(ApiError::invalid(format!(
            "image '{}' and --external-rootfs exclude each other; use `none`",
            image.name
        ))),
        (None, true) => Err(ApiError::invalid("an image or --external-rootfs is required")),
        (None, false) if !request.rootfs.starts_with('/') => {
            Err(ApiError::invalid(format!("root file system `{}` is not an absolute path", request.rootfs)))
        }
        (None, false) => Ok(Rootfs::External { dir: request.rootfs.clone(), direct: request.rootfs_direct }),
    }
}

fn runtime(config: &Config, name: &str) -> Checked<String> {
    let name = if name.is_empty() { &config.default_runtime } else { name };
    if !config.runtimes.contains_key(name) {
        let known: Vec<_> = config.runtimes.keys().map(String::as_str).collect();
        return Err(ApiError::invalid(format!(
            "unknown runtime `{name}`: daemon.json and the engine have {}",
            known.join(", ")
        )));
    }
    Ok(name.to_owned())
}

fn hostname(id: ContainerId, given: &str, namespaces: &Namespaces) -> Checked<String> {
    if given.is_empty() {
        return Ok(match namespaces.uts {
            Sharing::Host => {
                nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
            }
            _ => id.short(),
        });
    }
    if namespaces.uts != Sharing::Own {
        return Err(ApiError::invalid("conflicting options: hostname and the UTS mode"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let fits =
        given.len() <= 63 && given.bytes().all(plain) && edge(given.bytes().next()) && edge(given.bytes().last());
    if fits { Ok(given.to_owned()) } else { Err(ApiError::invalid(format!("Invalid container hostname:{given}"))) }
}

fn stop_signal(text: &str) -> Checked<i32> {
    match text {
        "" => Ok(15),
        text => signals::parse(text).ok_or_else(|| ApiError::invalid(format!("Invalid signal: {text}"))),
    }
}

fn process(
    entrypoint: Vec<String>,
    command: Vec<String>,
    env: Vec<String>,
    user: String,
    group_add: Vec<String>,
    workdir: String,
    (tty, open_stdin, stdin_once): (bool, bool, bool),
) -> Checked<Process> {
    if entrypoint.is_empty() && command.is_empty() {
        return Err(ApiError::invalid("No command specified"));
    }
    let nul = |text: &String| text.contains('\0');
    if entrypoint.iter().chain(&command).chain(&env).any(nul) {
        return Err(ApiError::invalid("arguments and environment cannot hold a NUL byte"));
    }
    if let Some(entry) = env.iter().find(|entry| entry.starts_with('=') || !entry.contains('=')) {
        let key = entry.split('=').next().unwrap_or_default();
        return Err(ApiError::invalid(format!("invalid environment variable `{key}`: KEY=VALUE is wanted")));
    }
    if !workdir.is_empty() && !workdir.starts_with('/') {
        return Err(ApiError::invalid(format!(
            "The working directory '{workdir}' is invalid. It needs to be an absolute path"
        )));
    }
    Ok(Process { entrypoint, command, env, user, group_add, workdir, tty, open_stdin, stdin_once })
}

fn device(device: &wire::Device) -> Checked<Device> {
    let permissions = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
    let once = |c: char| "rwm".contains(c) && permissions.matches(c).count() == 1;
    if !permissions.chars().all(once) {
        return Err(ApiError::invalid(format!("device permissions `{permissions}` are not of r, w and m")));
    }
    let container = if device.container.is_empty() { &device.host } else { &device.container };
    if !device.host.starts_with('/') || !container.starts_with('/') {
        return Err(ApiError::invalid(format!("device `{}` is not an absolute path", device.host)));
    }
    Ok(Device { host: device.host.clone(), container: container.clone(), permissions: permissions.to_owned() })
}

fn limits(given: wire::Resources, warnings: &mut Vec<String>) -> Checked<Resources> {
    let given = given_limits(given);
    given.warn_of_kernel_memory(warnings);
    Ok(given.checked()?)
}

/// Checks the DNS settings: each becomes a word of a line in resolv.conf.
fn dns(servers: Vec<String>, search: Vec<String>, options: Vec<String>) -> Checked<Dns> {
    if let Some(server) = servers.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
        return Err(ApiError::invalid(format!("{server} is not an ip address")));
    }
    let words = search.iter().chain(&options);
    if let Some(word) =
        words.into_iter().find(|word| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        return Err(ApiError::invalid(format!("`{}` is not a valid dns domain or option", word.escape_default())));
    }
    Ok(Dns { servers, search, options })
}

fn oom_score_adj(given: Option<i32>) -> Checked<Option<i32>> {
    match given {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(ApiError::invalid(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")))
        }
        other => Ok(other),
    }
}

/// The container's own, then those of the daemon that it does not set.
fn ulimits(config: &Config, given: &[wire::Ulimit]) -> Checked<Vec<Ulimit>> {
    let mut limits = BTreeMap::new();
    for (name, soft, hard) in &config.default_ulimits {
        limits.insert(name.clone(), (*soft, *hard));
    }
    for limit in given {
        if limit.soft < -1 || limit.hard < -1 || (limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard)) {
            return Err(ApiError::invalid(format!(
                "ulimit {}: soft limit must be less than or equal to hard limit: {} > {}",
                limit.name, limit.soft, limit.hard
            )));
        }
        limits.insert(limit.name.clone(), (limit.soft, limit.hard));
    }
    Ok(limits.into_iter().map(|(name, (soft, hard))| Ulimit { name, soft, hard }).collect())
}

fn sharing(engine: &Engine, what: &str, mode: &str, joinable: bool) -> Checked<Sharing> {
    match (mode, mode.strip_prefix("container:")) {
        ("" | "private" | "shareable" | "none", _) => Ok(Sharing::Own),
        ("host", _) => Ok(Sharing::Host),
        (_, Some(reference)) if joinable => Ok(Sharing::Container(joined(engine, reference)?)),
        (other, _) => Err(ApiError::invalid(format!("--{what}: invalid mode `{other}`"))),
    }
}

fn joined(engine: &Engine, reference: &str) -> Checked<String> {
    Ok(Target::find(engine, reference)?.id.to_string())
}

fn log(config: &Config, given: wire::LogConfig, warnings: &mut Vec<String>) -> Checked<Log> {
    let defaults = &config.container_log;
    let enabled = match given.driver.as_str() {
        "" => defaults.enabled,
        "json-file" => true,
        "none" => false,
        other => return Err(ApiError::invalid(format!("log driver `{other}` is unknown: json-file or none"))),
    };
    let max_size = match given.max_size {
        0 => defaults.max_size,
        -1 => 0,
        size @ 1..=4095 => {
            warnings.push(format!("max-size {size} of the log is below 4KB; 4KB is used"));
            4096
        }
        size => u64::try_from(size).map_err(|_| ApiError::invalid(format!("max-size {size} is not a size")))?,
    };
    let max_files = if given.max_files == 0 { defaults.max_files } else { given.max_files };
    Ok(Log { enabled, max_size, max_files })
}

fn keyed(what: &str, given: std::collections::HashMap<String, String>) -> Checked<BTreeMap<String, String>> {
    if given.keys().any(String::is_empty) {
        return Err(ApiError::invalid(format!("a {what} needs a name")));
    }
    Ok(given.into_iter().collect())
}
