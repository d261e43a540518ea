//! Inspect: the reference's keys, from the projection and the definition.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{cause_text, health, list::started_at, networks, restart};
use crate::api::native::{ApiError, Native};
use crate::clock::rfc3339;
use crate::definition::{Definition, Log, MountKind, Network, Rootfs, Seccomp, Sharing};
use crate::domain::container::{Container, End, ExitStatus, Phase, RestartPolicy};
use crate::engine::Engine;
use crate::layout::Bundle;
use crate::records::Entity;
use crate::rootfs::{self, ContainerDirs};
use crate::signals;

impl Native {
    pub(super) async fn inspect_container(&self, reference: &str) -> Result<String, ApiError> {
        let engine = self.engine.clone();
        let entity = self.target(reference)?.entity(&engine)?;
        let reading = tokio::task::spawn_blocking(move || {
            let definition = engine.containers.definition_uncached(&entity);
            let problem = definition.as_ref().err().map(|error| crate::cause::chain(error));
            object(&engine, &entity, definition.as_deref().ok(), problem.as_deref())
        });
        let object = reading.await.map_err(|panic| ApiError::failed(panic.to_string()))?;
        Ok(object.to_string())
    }
}

fn object(engine: &Engine, entity: &Entity, definition: Option<&Definition>, problem: Option<&str>) -> Value {
    let container = &entity.state;
    let card = &container.card;
    let bundle = engine.node.bundle(container);
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| keys.insert(key.to_owned(), value);
    put("Id", json!(container.id.to_string()));
    put("Created", json!(rfc3339(Some(card.created_at))));
    let mut state = state(entity);
    if let (Value::Object(state), Some(health)) = (&mut state, health::state(engine, container)) {
        state.insert("Health".to_owned(), health);
    }
    put("State", state);
    put("Image", json!(card.image));
    put("Runtime", json!(card.runtime));
    put("Name", json!(card.name.as_str()));
    put("RestartCount", json!(container.restarts.count));
    put("ResolvConfPath", json!(bundle.resolv_conf()));
    put("HostnamePath", json!(bundle.hostname()));
    put("HostsPath", json!(bundle.hosts()));
    put(
        "LogPath",
        json!(definition.map_or(Some(bundle.log()), |definition| log_path(definition, &bundle)).unwrap_or_default()),
    );
    put("MountLabel", json!(""));
    put("ProcessLabel", json!(""));
    put("GraphDriver", graph_driver(engine, container, definition));
    put("Journal", json!({ "Seq": entity.seq, "Version": container.version, "Verified": entity.verified }));
    if let Some(problem) = problem {
        put("DefinitionError", json!(problem));
    }
    if let Some(definition) = definition {
        let args: Vec<_> = definition.process.args().collect();
        put("Path", json!(args.first()));
        put("Args", json!(args.get(1..).unwrap_or_default()));
        put("Resources", resources(definition));
        put("SeccompProfile", json!(seccomp_word(definition)));
        put("NoNewPrivileges", json!(definition.security.no_new_privileges));
        put("HostConfig", host_config(definition, card.restart));
        put("Mounts", mounts(definition));
        put("Config", config(definition, &bundle));
        put("NetworkSettings", networks::settings(engine, &container.id.to_string(), definition));
    }
    Value::Object(keys)
}

fn state(entity: &Entity) -> Value {
    let container = &entity.state;
    let run = container.phase.run();
    let end = container.last.as_ref().filter(|_| run.is_none());
    let status = container.phase.word();
    let running = run.is_some();
    // An unknown status is `null`, since any number would look like a real one.
    let (code, cause) = match end.map(|end| end.status) {
        None => (json!(0), ""),
        Some(ExitStatus::Unknown(cause)) => (Value::Null, cause_text(cause)),
        Some(status) => (json!(status.code()), ""),
    };
    json!({
        "Status": status,
        "Running": running,
        "Paused": matches!(container.phase, Phase::Paused(_)),
        "Restarting": status == "restarting",
        "OOMKilled": run.map_or_else(|| end.is_some_and(|end| end.oom), |run| run.oom),
        "Pid": run.map_or(0, |run| run.process.pid),
        "ShimPid": run.and_then(|run| run.shim).map_or(0, |shim| shim.pid),
        "ExitCode": code,
        "ExitCause": cause,
        "Error": error_text(&container.phase, end),
        "StartedAt": rfc3339(started_at(&container.phase, container.last.as_ref())),
        "FinishedAt": rfc3339(end.map(|end| end.at)),
    })
}

fn error_text(phase: &Phase, end: Option<&End>) -> String {
    let removal = match phase {
        Phase::Removing(removing) => removing.failed.clone(),
        _ => None,
    };
    removal.or_else(|| end.and_then(|end| end.error.clone())).unwrap_or_default()
}

fn graph_driver(engine: &Engine, container: &Container, definition: Option<&Definition>) -> Value {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &engine.node.layout.graph, runtime: &container.card.runtime, id: &id };
    match definition.map(|definition| &definition.rootfs) {
        Some(Rootfs::External { dir, direct: false }) => json!({ "Name": "overlay2", "Data": {
            "LowerDir": dir, "MergedDir": dirs.merged(), "UpperDir": dirs.upper(), "WorkDir": dirs.work(),
        }}),
        Some(Rootfs::Image { layers, .. }) => {
            // Colon-separated and topmost first, as in docker's answers.
            let files = layers.iter().rev().map(|layer| rootfs::layer_files(dirs.graph, layer));
            let lower: Vec<_> = files.map(|path| path.to_string_lossy().into_owned()).collect();
            json!({ "Name": "overlay2", "Data": {
                "LowerDir": lower.join(":"), "MergedDir": dirs.merged(), "UpperDir": dirs.upper(), "WorkDir": dirs.work(),
            }})
        }
        Some(Rootfs::External { dir, direct: true }) => {
            json!({ "Name": "bind", "Data": { "LowerDir": dir, "MergedDir": dirs.merged() } })
        }
        None => Value::Null,
    }
}

fn resources(definition: &Definition) -> Value {
    let given = &definition.resources;
    json!({
        "CPUPeriod": given.cpu_period.unwrap_or(0),
        "CPUQuota": given.cpu_quota.unwrap_or(0),
        "CPUShares": given.cpu_shares.unwrap_or(0),
        "Memory": given.memory.unwrap_or(0),
        "MemorySwap": given.memory_swap.unwrap_or(0),
        "Hugetlbs": [],
    })
}

fn host_config(definition: &Definition, restart: RestartPolicy) -> Value {
    let given = &definition.resources;
    let security = &definition.security;
    let spaces = &definition.namespaces;
    let mut keys = json!({
        "NetworkMode": network_mode(&spaces.network),
        "IpcMode": sharing_mode(&spaces.ipc),
        "PidMode": sharing_mode(&spaces.pid),
        "UTSMode": sharing_mode(&spaces.uts),
        "CgroupnsMode": sharing_mode(&spaces.cgroup),
        "PortBindings": networks::bindings(&spaces.network),
        "Runtime": definition.runtime,
        "AutoRemove": definition.auto_remove,
        "Privileged": security.privileged,
        "ReadonlyRootfs": definition.read_only_rootfs,
        "CapAdd": security.cap_add,
        "CapDrop": security.cap_drop,
        "SecurityOpt": security_options(definition),
        "Sysctls": security.sysctls,
        "Dns": definition.dns.servers,
        "DnsSearch": definition.dns.search,
        "DnsOptions": definition.dns.options,
        "ExtraHosts": definition.extra_hosts,
        "GroupAdd": definition.process.group_add,
        "OomScoreAdj": definition.oom_score_adj.unwrap_or(0),
        "ShmSize": definition.shm_size,
        "CgroupParent": definition.cgroup_parent,
        "Memory": given.memory.unwrap_or(0),
        "MemorySwap": given.memory_swap.unwrap_or(0),
        "MemoryReservation": given.memory_reservation.unwrap_or(0),
        "MemorySwappiness": given.memory_swappiness,
        "OomKillDisable": given.oom_kill_disable.unwrap_or(false),
        "NanoCpus": given.nano_cpus.unwrap_or(0),
        "CpuShares": given.cpu_shares.unwrap_or(0),
        "CpuPeriod": given.cpu_period.unwrap_or(0),
        "CpuQuota": given.cpu_quota.unwrap_or(0),
        "CpusetCpus": given.cpuset_cpus,
        "CpusetMems": given.cpuset_mems,
        "PidsLimit": given.pids_limit.unwrap_or(0),
        "BlkioWeight": given.blkio_weight.unwrap_or(0),
    });
    // A second object: one literal of this size is more than the macro takes.
    let lists = json!({
        "Ulimits": definition.ulimits.iter()
            .map(|limit| json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard })).collect::<Vec<_>>(),
        "Devices": definition.devices.iter()
            .map(|device| json!({ "PathOnHost": device.host, "PathInContainer": device.container,
                "CgroupPermissions": device.permissions })).collect::<Vec<_>>(),
        "RestartPolicy": restart::words(restart),
        "Init": definition.init,
        "LogConfig": log_config(&definition.log),
    });
    if let (Value::Object(keys), Value::Object(lists)) = (&mut keys, lists) {
        keys.extend(lists);
    }
    keys
}

fn log_config(log: &Log) -> Value {
    match log {
        Log::None => json!({ "Type": "none", "Config": {} }),
        Log::JsonFile { max_size, max_files } => json!({ "Type": "json-file",
            "Config": { "max-size": max_size.to_string(), "max-file": max_files.to_string() } }),
        Log::Cri { .. } => json!({ "Type": "cri", "Config": {} }),
    }
}

/// `None` without a log.
fn log_path(definition: &Definition, bundle: &Bundle) -> Option<PathBuf> {
    definition.log.file(bundle.log()).map(|log| log.path)
}

fn security_options(definition: &Definition) -> Vec<String> {
    let mut options = Vec::new();
    if definition.security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match definition.security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile(_) => options.push("seccomp=custom".to_owned()),
    }
    options
}

fn seccomp_word(definition: &Definition) -> &'static str {
    match definition.security.seccomp {
        _ if definition.security.privileged => "unconfined",
        Seccomp::Default => "",
        Seccomp::Unconfined => "unconfined",
        Seccomp::Profile(_) => "custom",
    }
}

fn mounts(definition: &Definition) -> Value {
    let each = definition.mounts.iter().map(|mount| {
        json!({
            "Type": match mount.kind {
                MountKind::Bind => "bind",
                MountKind::Tmpfs => "tmpfs",
                MountKind::Volume => "volume",
            },
            "Name": mount.name,
            "Source": mount.source,
            "Destination": mount.target,
            "Driver": if mount.kind == MountKind::Volume { "local" } else { "" },
            "Mode": mount.options.join(","),
            "RW": !mount.read_only,
            "Propagation": if mount.propagation.is_empty() { "rprivate" } else { &mount.propagation },
        })
    });
    Value::Array(each.collect())
}

fn config(definition: &Definition, bundle: &Bundle) -> Value {
    let process = &definition.process;
    let mut annotations = definition.annotations.clone();
    if let Some(path) = log_path(definition, bundle) {
        annotations.insert("log.console.file".to_owned(), path.to_string_lossy().into_owned());
    }
    let anonymous = definition.mounts.iter().filter(|mount| mount.kind == MountKind::Volume && mount.anonymous);
    let image_ref = definition.rootfs.image().map_or_else(|| definition.image.clone(), |id| id.to_string());
    json!({
        "Hostname": definition.hostname,
        "User": process.user,
        "Env": process.env,
        "Tty": process.tty,
        "OpenStdin": process.open_stdin,
        "Cmd": process.command,
        "Entrypoint": process.entrypoint,
        "WorkingDir": process.workdir,
        "Labels": definition.labels,
        "Volumes": keys_alone(anonymous.map(|mount| mount.target.as_str())),
        "ExposedPorts": keys_alone(definition.exposed.iter().map(String::as_str)),
        "Healthcheck": definition.healthcheck.as_ref().map(|check| json!({
            "Test": check.test,
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "Retries": check.retries,
        })),
        "Annotations": annotations,
        "Image": definition.image,
        "ImageRef": image_ref,
        "StopSignal": signals::name(definition.stop_signal),
        "StopTimeout": definition.stop_timeout,
    })
}

/// A set in docker's format: an object with empty values.
pub(super) fn keys_alone<'a>(keys: impl Iterator<Item = &'a str>) -> Value {
    Value::Object(keys.map(|key| (key.to_owned(), json!({}))).collect())
}

pub(super) fn network_mode(network: &Network) -> String {
    match network {
        Network::None => "none".to_owned(),
        Network::Host => "host".to_owned(),
        Network::Container(id) => format!("container:{id}"),
        Network::Named(named) => named.networks.join(","),
    }
}

fn sharing_mode(sharing: &Sharing) -> String {
    match sharing {
        Sharing::Own => "private".to_owned(),
        Sharing::Host => "host".to_owned(),
        Sharing::Container(id) => format!("container:{id}"),
    }
}
