//! The specification of a container in a request.

use cri_api::isula::v1::{self as wire, CreateRequest};

use super::restart;
use crate::api::native::ApiError;
use crate::containers::{ContainerSpec, HealthcheckSpec, Limits, LogSpec, MountSpec, PortSpec};
use crate::definition::{Device, MountKind, Seccomp, Ulimit};

pub(in crate::api::native) fn container(request: CreateRequest) -> Result<ContainerSpec, ApiError> {
    // Every field is named, so that a new one of the request cannot be forgotten.
    let CreateRequest {
        name,
        image,
        rootfs,
        rootfs_direct,
        runtime,
        hostname,
        entrypoint,
        no_entrypoint,
        command,
        env,
        user,
        group_add,
        workdir,
        tty,
        open_stdin,
        stdin_once,
        auto_remove,
        labels,
        annotations,
        stop_signal,
        stop_timeout,
        expose,
        mounts,
        volumes_from,
        shm_size,
        devices,
        read_only_rootfs,
        resources,
        oom_score_adj,
        ulimits,
        cgroup_parent,
        privileged,
        cap_add,
        cap_drop,
        no_new_privileges,
        seccomp,
        sysctls,
        network,
        pid,
        ipc,
        uts,
        cgroupns,
        dns,
        dns_search,
        dns_options,
        extra_hosts,
        ip,
        ports,
        publish_all,
        log,
        restart,
        no_healthcheck,
        healthcheck,
        health_exit_on_unhealthy,
        init,
    } = request;
    Ok(ContainerSpec {
        name,
        image,
        rootfs,
        rootfs_direct,
        runtime,
        hostname,
        entrypoint,
        no_entrypoint,
        command,
        env,
        user,
        group_add,
        workdir,
        tty,
        open_stdin,
        stdin_once,
        auto_remove,
        labels,
        annotations,
        stop_signal,
        stop_timeout,
        expose,
        mounts: mounts.into_iter().map(mount).collect(),
        volumes_from,
        shm_size,
        devices: devices.into_iter().map(device).collect(),
        read_only_rootfs,
        limits: resources.map(limits).unwrap_or_default(),
        oom_score_adj,
        ulimits: ulimits.into_iter().map(ulimit).collect(),
        cgroup_parent,
        privileged,
        cap_add,
        cap_drop,
        no_new_privileges,
        seccomp: seccomp_profile(seccomp),
        sysctls,
        network,
        pid,
        ipc,
        uts,
        cgroupns,
        dns,
        dns_search,
        dns_options,
        extra_hosts,
        ip,
        ports: ports.into_iter().map(port).collect(),
        publish_all,
        log: log.map(log_spec).unwrap_or_default(),
        restart: restart.as_ref().map(restart::policy).transpose()?.unwrap_or_default(),
        no_healthcheck,
        healthcheck: healthcheck.map(healthcheck_spec).unwrap_or_default(),
        health_exit_on_unhealthy,
        init,
    })
}

fn mount(given: wire::Mount) -> MountSpec {
    let kind = match given.kind() {
        wire::mount::Kind::Bind => MountKind::Bind,
        wire::mount::Kind::Tmpfs => MountKind::Tmpfs,
        wire::mount::Kind::Volume => MountKind::Volume,
    };
    MountSpec {
        kind,
        source: given.source,
        target: given.target,
        read_only: given.read_only,
        propagation: given.propagation,
        options: given.options,
        create_source: given.create_source,
        non_recursive: given.non_recursive,
        no_copy: given.no_copy,
    }
}

fn device(given: wire::Device) -> Device {
    Device { host: given.host, container: given.container, permissions: given.permissions }
}

fn ulimit(given: wire::Ulimit) -> Ulimit {
    Ulimit { name: given.name, soft: given.soft, hard: given.hard }
}

fn seccomp_profile(given: String) -> Seccomp {
    match given.as_str() {
        "" => Seccomp::Default,
        "unconfined" => Seccomp::Unconfined,
        _ => Seccomp::Profile(given),
    }
}

fn port(given: wire::PortMapping) -> PortSpec {
    let wire::PortMapping { host_ip, host_port, container_port, protocol } = given;
    PortSpec { host_ip, host_port, container_port, protocol }
}

fn log_spec(given: wire::LogConfig) -> LogSpec {
    LogSpec { driver: given.driver, max_size: given.max_size, max_files: given.max_files }
}

fn healthcheck_spec(given: wire::Healthcheck) -> HealthcheckSpec {
    let wire::Healthcheck { test, interval, timeout, start_period, retries } = given;
    HealthcheckSpec { test, interval, timeout, start_period, retries }
}

/// The limits of a request.
pub(super) fn limits(given: wire::Resources) -> Limits {
    Limits {
        memory: given.memory,
        memory_swap: given.memory_swap,
        memory_reservation: given.memory_reservation,
        memory_swappiness: given.memory_swappiness,
        oom_kill_disable: given.oom_kill_disable,
        kernel_memory: given.kernel_memory,
        nano_cpus: given.nano_cpus,
        cpu_shares: given.cpu_shares,
        cpu_period: given.cpu_period,
        cpu_quota: given.cpu_quota,
        cpuset_cpus: given.cpuset_cpus,
        cpuset_mems: given.cpuset_mems,
        cpu_rt_runtime: given.cpu_rt_runtime,
        cpu_rt_period: given.cpu_rt_period,
        pids_limit: given.pids_limit,
        blkio_weight: given.blkio_weight,
    }
}
