//! The counters of one cgroup, of both versions.

use std::fs;
use std::path::{Path, PathBuf};

use crate::spec::GroupPath;
use crate::spec::cgroup::{Cgroups, Version};

/// Clock ticks per second in cgroup files: the same on every architecture.
const TICKS: u64 = 100;
const NANOSECONDS: u64 = 1_000_000_000;

/// The counters of a cgroup; those that it does not have are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Nanoseconds.
    pub cpu_usage: Option<u64>,
    pub cpu_user: Option<u64>,
    pub cpu_system: Option<u64>,
    /// The total less the inactive page cache.
    pub memory_usage: Option<u64>,
    /// The limit of the cgroup, or the machine's memory if that is less.
    pub memory_limit: Option<u64>,
    /// With all of the page cache.
    pub memory_total: Option<u64>,
    pub memory_cache: Option<u64>,
    pub memory_rss: Option<u64>,
    pub swap_usage: Option<u64>,
    pub page_faults: Option<u64>,
    pub major_page_faults: Option<u64>,
    pub kernel_memory: Option<u64>,
    pub block_read: Option<u64>,
    pub block_write: Option<u64>,
    pub pids: Option<u64>,
    /// Absent without a limit.
    pub pids_limit: Option<u64>,
}

/// The names of counters in one version of cgroups.
struct Names {
    times: &'static str,
    user: &'static str,
    system: &'static str,
    /// Nanoseconds.
    time_unit: u64,
    memory_total: &'static str,
    memory_inactive: &'static str,
    memory_limit: &'static str,
    memory_cache: &'static str,
    memory_rss: &'static str,
    swap: Name,
    page_faults: &'static str,
    major_page_faults: &'static str,
    kernel_memory: Name,
    /// The files of block I/O, of which the first existing one is read.
    block: &'static [&'static str],
    /// The parser of that file: bytes read and written.
    bytes: fn(&str) -> (u64, u64),
}

#[derive(Clone, Copy)]
enum Name {
    File(&'static str),
    /// In `memory.stat`.
    Key(&'static str),
}

const SEPARATE: Names = Names {
    times: "cpuacct.stat",
    user: "user",
    system: "system",
    time_unit: NANOSECONDS / TICKS,
    memory_total: "memory.usage_in_bytes",
    memory_inactive: "total_inactive_file",
    memory_limit: "memory.limit_in_bytes",
    memory_cache: "total_cache",
    memory_rss: "total_rss",
    swap: Name::Key("total_swap"),
    page_faults: "total_pgfault",
    major_page_faults: "total_pgmajfault",
    kernel_memory: Name::File("memory.kmem.usage_in_bytes"),
    block: &["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"],
    bytes: throttled,
};

const UNIFIED: Names = Names {
    times: "cpu.stat",
    user: "user_usec",
    system: "system_usec",
    time_unit: 1000,
    memory_total: "memory.current",
    memory_inactive: "inactive_file",
    memory_limit: "memory.max",
    memory_cache: "file",
    memory_rss: "anon",
    swap: Name::File("memory.swap.current"),
    page_faults: "pgfault",
    major_page_faults: "pgmajfault",
    kernel_memory: Name::Key("kernel"),
    block: &["io.stat"],
    bytes: by_device,
};

/// The mounts of the controllers, looked up once for many cgroups.
#[derive(Debug)]
pub(crate) struct Meter {
    unified: bool,
    cpuacct: Option<PathBuf>,
    memory: Option<PathBuf>,
    block: Option<PathBuf>,
    pids: Option<PathBuf>,
    /// Of the machine.
    memory_limit: Option<u64>,
}

impl Meter {
    pub(crate) fn new(cgroups: &Cgroups) -> Self {
        let unified = cgroups.version() == Version::V2;
        let root = |controller: &str| cgroups.controller_root(controller).map(Path::to_path_buf);
        Self {
            unified,
            // In version 2 time is accounted without the controller, too.
            cpuacct: if unified { cgroups.unified_root().map(Path::to_path_buf) } else { root("cpuacct") },
            memory: root("memory"),
            block: root(if unified { "io" } else { "blkio" }),
            pids: root("pids"),
            memory_limit: machine_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        }
    }

    /// The processor time alone, in nanoseconds, since a round reads it twice.
    pub(crate) fn cpu_usage(&self, group: &GroupPath) -> Option<u64> {
        let dir = Dir::of(self.cpuacct.as_deref(), group)?;
        if self.unified {
            return dir.keyed("cpu.stat").get("usage_usec").and_then(|time| time.checked_mul(1000));
        }
        dir.number("cpuacct.usage")
    }

    /// All counters but the total processor time.
    pub(crate) fn others(&self, group: &GroupPath) -> Counters {
        let names = if self.unified { &UNIFIED } else { &SEPARATE };
        let mut counters = Counters::default();
        if let Some(dir) = Dir::of(self.cpuacct.as_deref(), group) {
            let times = dir.keyed(names.times);
            let time = |key| times.get(key).and_then(|time| time.checked_mul(names.time_unit));
            (counters.cpu_user, counters.cpu_system) = (time(names.user), time(names.system));
        }
        if let Some(dir) = Dir::of(self.memory.as_deref(), group) {
            let stat = dir.keyed("memory.stat");
            counters.memory_total = dir.number(names.memory_total);
            counters.memory_usage = less(counters.memory_total, stat.get(names.memory_inactive));
            counters.memory_limit = self.limit(dir.number(names.memory_limit), counters.memory_total);
            counters.memory_cache = stat.get(names.memory_cache);
            counters.memory_rss = stat.get(names.memory_rss);
            counters.page_faults = stat.get(names.page_faults);
            counters.major_page_faults = stat.get(names.major_page_faults);
            // Each version keeps one of these two in `memory.stat` and the other one in a file.
            let value = |name: Name| match name {
                Name::File(file) => dir.number(file),
                Name::Key(key) => stat.get(key),
            };
            (counters.swap_usage, counters.kernel_memory) = (value(names.swap), value(names.kernel_memory));
        }
        if let Some(dir) = Dir::of(self.block.as_deref(), group) {
            let text = names.block.iter().find_map(|file| dir.read(file));
            (counters.block_read, counters.block_write) = text.map(|text| (names.bytes)(&text)).unzip();
        }
        if let Some(dir) = Dir::of(self.pids.as_deref(), group) {
            counters.pids = dir.number("pids.current");
            counters.pids_limit = dir.number("pids.max");
        }
        counters
    }

    /// The memory limit; absent for a cgroup that does not account memory.
    fn limit(&self, own: Option<u64>, accounted: Option<u64>) -> Option<u64> {
        accounted?;
        own.into_iter().chain(self.memory_limit).min()
    }
}

/// One cgroup in one hierarchy.
struct Dir(PathBuf);

impl Dir {
    /// `None` where there is no such hierarchy.
    fn of(root: Option<&Path>, group: &GroupPath) -> Option<Self> {
        root.map(|root| Self(group.below(root)))
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.join(file)).ok()
    }

    /// `max` is no number.
    fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    fn keyed(&self, file: &str) -> Keyed {
        Keyed(self.read(file).unwrap_or_default())
    }
}

/// Lines of a key and a number.
struct Keyed(String);

impl Keyed {
    fn get(&self, key: &str) -> Option<u64> {
        let rest = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        rest.trim().parse().ok()
    }
}

/// `8:0 Read 4096` for each device, and sums, which are not counted twice.
fn throttled(text: &str) -> (u64, u64) {
    let (mut read, mut written) = (0_u64, 0_u64);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, direction, bytes] = words[..] else { continue };
        let bytes: u64 = bytes.parse().unwrap_or(0);
        match direction {
            "Read" => read = read.saturating_add(bytes),
            "Write" => written = written.saturating_add(bytes),
            _ => {}
        }
    }
    (read, written)
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 …` for each device.
fn by_device(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let numbers = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        numbers.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

fn less(total: Option<u64>, part: Option<u64>) -> Option<u64> {
    total.map(|total| total.saturating_sub(part.unwrap_or(0)))
}

fn machine_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
