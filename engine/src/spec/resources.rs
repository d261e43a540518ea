//! Limits of a container, in the terms of cgroup version 1; the runtimes convert them for version 2.
//!
//! A limit that the kernel lacks is left out with a warning: a container that worked on one machine starts on the next.

use crate::definition::{Definition, Resources};

use super::host::Features;
use super::{Host, oci};

/// Microseconds: the scheduler's default, which `nano_cpus` is measured against.
const CPU_PERIOD: u64 = 100_000;

/// More pids than a kernel can have, as "no limit": not every runtime knows how to remove a limit.
const ALL_PIDS: i64 = 1 << 22;

pub(super) fn plan<'a>(
    definition: &'a Definition,
    host: &Host,
    devices: Vec<oci::DeviceRule>,
    warnings: &mut Vec<String>,
) -> oci::Resources<'a> {
    let asked = &definition.resources;
    let mut support = Support { features: host.features, warnings };
    oci::Resources {
        devices,
        memory: memory(asked, &mut support),
        cpu: cpu(asked, &mut support),
        pids: support
            .keep(asked.pids_limit.filter(|limit| *limit > 0), |features| features.pids, "PIDs limit")
            .map(|limit| oci::Pids { limit }),
        block_io: support
            .keep(
                asked.blkio_weight.filter(|weight| *weight != 0),
                |features| features.blkio_weight,
                "block I/O weight",
            )
            .map(|weight| oci::BlockIo { weight }),
    }
}

/// New limits of a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In the format of the runtimes' `update`.
    pub json: Vec<u8>,
    pub warnings: Vec<String>,
}

/// From one definition's limits to another's. All of them are named, so that it may be repeated from any state; a limit
/// that no longer applies is named as unlimited.
pub(crate) fn change(from: &Definition, to: &Definition, host: &Host) -> Limits {
    let mut warnings = Vec::new();
    let before = plan(from, host, Vec::new(), &mut Vec::new());
    let mut after = plan(to, host, Vec::new(), &mut warnings);
    let freed = |before: Option<i64>, after: &mut Option<i64>| {
        if before.is_some() && after.is_none() {
            *after = Some(-1);
        }
    };
    freed(before.memory.limit, &mut after.memory.limit);
    freed(before.memory.swap, &mut after.memory.swap);
    freed(before.memory.reservation, &mut after.memory.reservation);
    freed(before.cpu.quota, &mut after.cpu.quota);
    if before.pids.is_some() && after.pids.is_none() {
        after.pids = Some(oci::Pids { limit: ALL_PIDS });
    }
    // Not for `update`, which would take them for limits of memory that are to be changed.
    (after.memory.swappiness, after.memory.disable_oom_killer) = (None, None);
    let json = serde_json::to_vec(&after).expect("limits are numbers and texts, which JSON can hold");
    Limits { json, warnings }
}

fn memory(asked: &Resources, support: &mut Support<'_>) -> oci::Memory {
    let limit = support.keep(asked.memory.filter(|limit| *limit != 0), |features| features.memory, "memory limit");
    let swap = asked.memory_swap.filter(|limit| *limit != 0);
    let swap = support.keep(swap, |features| features.memory && features.swap, "swap limit");
    let reservation = asked.memory_reservation.filter(|limit| *limit != 0);
    // The kernel's default needs no support: -1 is how a caller requests it.
    let swappiness = asked.memory_swappiness.filter(|value| *value <= 100);
    let disable = asked.oom_kill_disable.filter(|disable| *disable);
    let memory = oci::Memory {
        limit,
        reservation: support.keep(reservation, |features| features.memory_reservation, "memory reservation"),
        swap,
        swappiness: support.keep(swappiness, |features| features.swappiness, "memory swappiness"),
        disable_oom_killer: support.keep(disable, |features| features.oom_kill_disable, "disabling the OOM killer"),
    };
    if memory.disable_oom_killer.is_some() && memory.limit.is_none() {
        support.warnings.push(
            "The OOM killer is disabled for the container, but no memory limit is set: this may take all of the host's memory."
                .to_owned(),
        );
    }
    memory
}

fn cpu<'a>(asked: &'a Resources, support: &mut Support<'_>) -> oci::Cpu<'a> {
    let (quota, period) = match asked.nano_cpus.filter(|nano_cpus| *nano_cpus > 0) {
        Some(nano_cpus) => {
            let quota = i128::from(nano_cpus) * i128::from(CPU_PERIOD) / 1_000_000_000;
            (i64::try_from(quota).ok(), Some(CPU_PERIOD))
        }
        None => (asked.cpu_quota.filter(|quota| *quota != 0), asked.cpu_period.filter(|period| *period != 0)),
    };
    let named = |list: &'a String| Some(list.as_str()).filter(|list| !list.is_empty());
    let realtime = |features: Features| features.cpu_realtime;
    oci::Cpu {
        shares: support.keep(asked.cpu_shares.filter(|shares| *shares != 0), |f| f.cpu_shares, "CPU shares"),
        quota: support.keep(quota, |features| features.cpu_quota, "CPU CFS quota"),
        period: support.keep(period, |features| features.cpu_quota, "CPU CFS period"),
        realtime_runtime: support.keep(asked.cpu_rt_runtime.filter(|n| *n != 0), realtime, "CPU real-time runtime"),
        realtime_period: support.keep(asked.cpu_rt_period.filter(|n| *n != 0), realtime, "CPU real-time period"),
        cpus: support.keep(named(&asked.cpuset_cpus), |features| features.cpuset, "cpuset"),
        mems: support.keep(named(&asked.cpuset_mems), |features| features.cpuset, "cpuset"),
    }
}

struct Support<'a> {
    features: Features,
    warnings: &'a mut Vec<String>,
}

impl Support<'_> {
    /// The value, or a warning in its place where the kernel lacks the feature.
    fn keep<T>(&mut self, value: Option<T>, has: impl Fn(Features) -> bool, what: &str) -> Option<T> {
        let value = value?;
        if has(self.features) {
            return Some(value);
        }
        let warning = format!("Your kernel does not support {what}, or its cgroup is not mounted. It is discarded.");
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
        None
    }
}
