//! Makes a definition of a specification, once: every invalid one that can be detected before anything is made is refused
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::image::{self, ImageForCreate};
use super::{ContainerSpec, LogSpec, health, network, volumes};
use crate::config::Config;
use crate::containers::{ContainerError, Limits, Target, suits_removal};
use crate::definition::{
    Definition, Device, Dns, Log, Mount, Namespaces, Process, Resources, Rootfs, Security, Sharing, Ulimit,
};
use crate::domain::id::{ContainerId, Name};
use crate::engine::Engine;
use crate::network::conf::Confs;
use crate::signals;
use crate::spec::files;

const VERSION: u32 = 1;
const DEFAULT_SHM: u64 = 64 << 20;
const DEFAULT_GRACE: u32 = 10;

type Checked<T> = Result<T, ContainerError>;

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
    mut spec: ContainerSpec,
    references: References,
) -> Checked<(Definition, Vec<String>)> {
    let config = &engine.node.config;
    let mut warnings = Vec::new();
    let rootfs = rootfs(&spec, references.image.as_ref())?;
    let mut from_image = image::merge(&mut spec, references.image.as_ref(), &mut warnings)?;
    let healthcheck = health::check(&spec, from_image.healthcheck.take())?;
    let network = network::network(&spec, &from_image.exposed, &references.networks, |other| joined(engine, other))?;
    let namespaces = Namespaces {
        pid: sharing(engine, "pid", &spec.pid, true)?,
        ipc: sharing(engine, "ipc", &spec.ipc, true)?,
        uts: sharing(engine, "uts", &spec.uts, false)?,
        cgroup: sharing(engine, "cgroupns", &spec.cgroupns, false)?,
        network,
    };
    let definition = Definition {
        version: VERSION,
        id: id.to_string(),
        name: name.to_string(),
        image: references.image.map_or_else(|| "none".to_owned(), |image| image.name),
        rootfs,
        runtime: runtime(config, &spec.runtime)?,
        hostname: hostname(id, &spec.hostname, &namespaces)?,
        stop_signal: stop_signal(&spec.stop_signal)?,
        stop_timeout: spec.stop_timeout.unwrap_or(DEFAULT_GRACE),
        auto_remove: spec.auto_remove,
        mounts: volumes::mounts(&engine.node.layout, &spec.mounts, references.inherited, &from_image.volumes)?,
        shm_size: if spec.shm_size == 0 { DEFAULT_SHM } else { spec.shm_size },
        devices: spec.devices.into_iter().map(device).collect::<Checked<_>>()?,
        read_only_rootfs: spec.read_only_rootfs,
        resources: limits(spec.limits, &mut warnings)?,
        oom_score_adj: oom_score_adj(spec.oom_score_adj)?,
        ulimits: ulimits(config, &spec.ulimits)?,
        cgroup_parent: cgroup_parent(spec.cgroup_parent)?,
        security: Security {
            privileged: spec.privileged,
            cap_add: spec.cap_add,
            cap_drop: spec.cap_drop,
            no_new_privileges: spec.no_new_privileges,
            seccomp: spec.seccomp,
            sysctls: spec.sysctls.into_iter().collect(),
        },
        namespaces,
        dns: dns(spec.dns, spec.dns_search, spec.dns_options)?,
        extra_hosts: extra_hosts(spec.extra_hosts)?,
        log: log(config, spec.log, &mut warnings)?,
        labels: keyed("label", spec.labels)?,
        annotations: keyed("annotation", spec.annotations)?,
        process: process(
            spec.entrypoint,
            spec.command,
            spec.env,
            spec.user,
            spec.group_add,
            spec.workdir,
            (spec.tty, spec.open_stdin, spec.stdin_once),
        )?,
        exposed: from_image.exposed,
        healthcheck,
        health_exit_on_unhealthy: spec.health_exit_on_unhealthy,
        restart: suits_removal(spec.restart, spec.auto_remove)?,
        init: spec.init,
    };
    Ok((definition, warnings))
}

fn extra_hosts(entries: Vec<String>) -> Checked<Vec<String>> {
    match entries.iter().find(|entry| files::extra_host(entry).is_none()) {
        Some(entry) => Err(ContainerError::invalid(format!("extra host `{entry}` is not of the form host:ip"))),
        None => Ok(entries),
    }
}

fn cgroup_parent(parent: String) -> Checked<String> {
    if parent.split('/').any(|part| part == "..") || parent.contains('\0') {
        return Err(ContainerError::invalid(format!("cgroup parent `{parent}` climbs out of the cgroup root")));
    }
    Ok(parent)
}

/// The root filesystem: an image's, or a directory of the host.
fn rootfs(spec: &ContainerSpec, image: Option<&ImageForCreate>) -> Checked<Rootfs> {
    match (image, spec.rootfs.is_empty()) {
        (Some(image), true) => Ok(Rootfs::Image { id: image.id.to_string(), layers: image.layers.clone() }),
        (Some(image), false) => Err(ContainerError::invalid(format!(
            "image '{}' and --external-rootfs exclude each other; use `none`",
            image.name
        ))),
        (None, true) => Err(ContainerError::invalid("an image or --external-rootfs is required")),
        (None, false) if !spec.rootfs.starts_with('/') => {
            Err(ContainerError::invalid(format!("root file system `{}` is not an absolute path", spec.rootfs)))
        }
        (None, false) => Ok(Rootfs::External { dir: spec.rootfs.clone(), direct: spec.rootfs_direct }),
    }
}

fn runtime(config: &Config, name: &str) -> Checked<String> {
    let name = if name.is_empty() { &config.default_runtime } else { name };
    if !config.runtimes.contains_key(name) {
        let known: Vec<_> = config.runtimes.keys().map(String::as_str).collect();
        return Err(ContainerError::invalid(format!(
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
        return Err(ContainerError::invalid("conflicting options: hostname and the UTS mode"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let fits =
        given.len() <= 63 && given.bytes().all(plain) && edge(given.bytes().next()) && edge(given.bytes().last());
    if fits {
        Ok(given.to_owned())
    } else {
        Err(ContainerError::invalid(format!("Invalid container hostname:{given}")))
    }
}

fn stop_signal(text: &str) -> Checked<i32> {
    match text {
        "" => Ok(15),
        text => signals::parse(text).ok_or_else(|| ContainerError::invalid(format!("Invalid signal: {text}"))),
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
        return Err(ContainerError::invalid("No command specified"));
    }
    let nul = |text: &String| text.contains('\0');
    if entrypoint.iter().chain(&command).chain(&env).any(nul) {
        return Err(ContainerError::invalid("arguments and environment cannot hold a NUL byte"));
    }
    if let Some(entry) = env.iter().find(|entry| entry.starts_with('=') || !entry.contains('=')) {
        let key = entry.split('=').next().unwrap_or_default();
        return Err(ContainerError::invalid(format!("invalid environment variable `{key}`: KEY=VALUE is wanted")));
    }
    if !workdir.is_empty() && !workdir.starts_with('/') {
        return Err(ContainerError::invalid(format!(
            "The working directory '{workdir}' is invalid. It needs to be an absolute path"
        )));
    }
    Ok(Process { entrypoint, command, env, user, group_add, workdir, tty, open_stdin, stdin_once })
}

fn device(given: Device) -> Checked<Device> {
    let permissions = if given.permissions.is_empty() { "rwm".to_owned() } else { given.permissions };
    let once = |c: char| "rwm".contains(c) && permissions.matches(c).count() == 1;
    if !permissions.chars().all(once) {
        return Err(ContainerError::invalid(format!("device permissions `{permissions}` are not of r, w and m")));
    }
    let container = if given.container.is_empty() { given.host.clone() } else { given.container };
    if !given.host.starts_with('/') || !container.starts_with('/') {
        return Err(ContainerError::invalid(format!("device `{}` is not an absolute path", given.host)));
    }
    Ok(Device { host: given.host, container, permissions })
}

fn limits(given: Limits, warnings: &mut Vec<String>) -> Checked<Resources> {
    given.warn_of_kernel_memory(warnings);
    given.checked()
}

/// Checks the DNS settings: each becomes a word of a line in resolv.conf.
fn dns(servers: Vec<String>, search: Vec<String>, options: Vec<String>) -> Checked<Dns> {
    if let Some(server) = servers.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
        return Err(ContainerError::invalid(format!("{server} is not an ip address")));
    }
    let words = search.iter().chain(&options);
    if let Some(word) =
        words.into_iter().find(|word| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        return Err(ContainerError::invalid(format!(
            "`{}` is not a valid dns domain or option",
            word.escape_default()
        )));
    }
    Ok(Dns { servers, search, options })
}

fn oom_score_adj(given: Option<i32>) -> Checked<Option<i32>> {
    match given {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(ContainerError::invalid(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")))
        }
        other => Ok(other),
    }
}

/// The container's own, then those of the daemon that it does not set.
fn ulimits(config: &Config, given: &[Ulimit]) -> Checked<Vec<Ulimit>> {
    let mut limits = BTreeMap::new();
    for (name, soft, hard) in &config.default_ulimits {
        limits.insert(name.clone(), (*soft, *hard));
    }
    for limit in given {
        if limit.soft < -1 || limit.hard < -1 || (limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard)) {
            return Err(ContainerError::invalid(format!(
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
        (other, _) => Err(ContainerError::invalid(format!("--{what}: invalid mode `{other}`"))),
    }
}

fn joined(engine: &Engine, reference: &str) -> Checked<String> {
    Ok(Target::find(engine, reference)?.id.to_string())
}

fn log(config: &Config, given: LogSpec, warnings: &mut Vec<String>) -> Checked<Log> {
    let defaults = &config.container_log;
    let enabled = match given.driver.as_str() {
        "" => defaults.enabled,
        "json-file" => true,
        "none" => false,
        other => return Err(ContainerError::invalid(format!("log driver `{other}` is unknown: json-file or none"))),
    };
    let max_size = match given.max_size {
        0 => defaults.max_size,
        -1 => 0,
        size @ 1..=4095 => {
            warnings.push(format!("max-size {size} of the log is below 4KB; 4KB is used"));
            4096
        }
        size => u64::try_from(size).map_err(|_| ContainerError::invalid(format!("max-size {size} is not a size")))?,
    };
    let max_files = if given.max_files == 0 { defaults.max_files } else { given.max_files };
    Ok(if enabled { Log::JsonFile { max_size, max_files } } else { Log::None })
}

fn keyed(what: &str, given: std::collections::HashMap<String, String>) -> Checked<BTreeMap<String, String>> {
    if given.keys().any(String::is_empty) {
        return Err(ContainerError::invalid(format!("a {what} needs a name")));
    }
    Ok(given.into_iter().collect())
}
