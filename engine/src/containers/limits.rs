//! Limits as a caller gives them, for a creation or an update.

use super::ContainerError;
use crate::definition::Resources;

const MINIMUM_MEMORY: i64 = 4 << 20;

/// Limits of a container, not checked yet. Absent, 0 and empty ones are not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// -1 is no limit, here and below.
    pub memory: Option<i64>,
    /// Of memory and swap together.
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_swappiness: Option<u64>,
    pub oom_kill_disable: Option<bool>,
    pub kernel_memory: Option<i64>,
    /// CPUs times 10^9; excludes period and quota.
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<u64>,
    pub cpu_period: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub cpu_rt_runtime: Option<i64>,
    pub cpu_rt_period: Option<u64>,
    /// 0 is no limit either.
    pub pids_limit: Option<i64>,
    pub blkio_weight: Option<u32>,
}

impl Limits {
    /// As a definition has them, if they go together.
    pub(crate) fn checked(self) -> Result<Resources, ContainerError> {
        let given = self;
        let refuse = |message: String| Err(ContainerError::Invalid { message });
        let sizes = [
            ("memory", given.memory),
            ("memory reservation", given.memory_reservation),
            ("kernel memory", given.kernel_memory),
        ];
        for (what, bytes) in sizes {
            if bytes.is_some_and(|bytes| bytes != 0 && bytes != -1 && bytes < MINIMUM_MEMORY) {
                return refuse(format!("Minimum {what} limit allowed is 4MB"));
            }
        }
        if let (Some(memory), Some(swap)) = (given.memory, given.memory_swap)
            && memory > 0
            && swap > 0
            && swap < memory
        {
            return refuse("Minimum memoryswap limit should be larger than memory limit, see usage".to_owned());
        }
        if given.memory_swap.is_some_and(|swap| swap > 0) && given.memory.unwrap_or(0) <= 0 {
            return refuse("You should always set the Memory limit when using Memoryswap limit, see usage".to_owned());
        }
        if let (Some(memory), Some(reservation)) = (given.memory, given.memory_reservation)
            && memory > 0
            && reservation > memory
        {
            return refuse("Minimum memory limit should be larger than memory reservation limit, see usage".to_owned());
        }
        if given.memory_swappiness.is_some_and(|swappiness| swappiness > 100) {
            return refuse("Invalid value: memory swappiness is of 0-100".to_owned());
        }
        if given.nano_cpus.is_some() && (given.cpu_period.is_some() || given.cpu_quota.is_some()) {
            return refuse("Conflicting options: --cpus excludes --cpu-period and --cpu-quota".to_owned());
        }
        if given.nano_cpus.is_some_and(|cpus| cpus <= 0) {
            return refuse("Range of CPUs is above 0".to_owned());
        }
        if given.cpu_period.is_some_and(|period| period != 0 && !(1_000..=1_000_000).contains(&period)) {
            return refuse(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned(),
            );
        }
        if given.cpu_quota.is_some_and(|quota| quota > 0 && quota < 1_000) {
            return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
        }
        for (what, list) in [("cpus", &given.cpuset_cpus), ("mems", &given.cpuset_mems)] {
            if !list.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'-')) {
                return refuse(format!("Invalid value {list} for cpuset {what}"));
            }
        }
        let blkio_weight = match given.blkio_weight {
            None | Some(0) => None,
            Some(weight @ 10..=1000) => Some(weight as u16),
            Some(_) => return refuse("Range of blkio weight is from 10 to 1000".to_owned()),
        };
        Ok(Resources {
            memory: given.memory.filter(|bytes| *bytes != 0),
            // By default as much swap as memory.
            memory_swap: given.memory_swap.filter(|bytes| *bytes != 0).or_else(|| doubled(given.memory)),
            memory_reservation: given.memory_reservation.filter(|bytes| *bytes != 0),
            memory_swappiness: given.memory_swappiness,
            oom_kill_disable: given.oom_kill_disable,
            nano_cpus: given.nano_cpus,
            cpu_shares: given.cpu_shares.filter(|shares| *shares != 0),
            cpu_period: given.cpu_period.filter(|period| *period != 0),
            cpu_quota: given.cpu_quota.filter(|quota| *quota != 0),
            cpuset_cpus: given.cpuset_cpus,
            cpuset_mems: given.cpuset_mems,
            cpu_rt_runtime: given.cpu_rt_runtime,
            cpu_rt_period: given.cpu_rt_period,
            pids_limit: given.pids_limit.filter(|limit| *limit > 0),
            blkio_weight,
        })
    }

    /// Kernel memory is part of memory on every kernel of today.
    pub(crate) fn warn_of_kernel_memory(&self, warnings: &mut Vec<String>) {
        if self.kernel_memory.is_some_and(|bytes| bytes != 0) {
            warnings.push(
                "Your kernel does not support a limit of kernel memory of its own; --memory limits both. It is discarded."
                    .to_owned(),
            );
        }
    }
}

fn doubled(memory: Option<i64>) -> Option<i64> {
    memory.filter(|bytes| *bytes > 0).and_then(|bytes| bytes.checked_mul(2))
}
