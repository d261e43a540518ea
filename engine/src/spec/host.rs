//! The abilities of this machine and this process that matter to containers, probed once when the daemon starts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, getrlimit};

use super::capabilities::CapabilitySet;
use super::cgroup::{Cgroups, Version};
use super::oci;

/// The host could not be examined.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}`")]
pub(crate) struct ProbeError {
    pub path: &'static str,
    pub source: io::Error,
}

/// Facts of the host. Probe after the daemon has set its own limits: those bound the limits of containers.
#[derive(Debug)]
pub(crate) struct Host {
    pub cgroups: Cgroups,
    pub features: Features,
    /// Capabilities that this process may pass on.
    pub capabilities: CapabilitySet,
    /// Capabilities that the kernel knows.
    pub known_capabilities: CapabilitySet,
    /// Whether this process may exceed hard limits and lower the OOM score.
    pub may_raise_limits: bool,
    /// Hard limits of this process in the order of `process::ULIMITS`; `None` is unlimited.
    pub(super) hard_limits: [Option<u64>; 16],
    /// The kernel's upper limit of open files per process, for privileged ones too.
    pub max_open_files: u64,
    pub oom_score_adj: i32,
    pub architecture: Architecture,
    /// Major and minor.
    pub kernel: (u32, u32),
    pub foreign: Foreign,
    pub(super) seccomp_cache: Mutex<BTreeMap<CapabilitySet, Arc<oci::Seccomp>>>,
}

/// Features of the kernel; settings that need a missing one are left out of a spec with a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    pub memory: bool,
    pub memory_reservation: bool,
    pub swap: bool,
    pub swappiness: bool,
    pub oom_kill_disable: bool,
    pub cpu_shares: bool,
    pub cpu_quota: bool,
    pub cpu_realtime: bool,
    pub cpuset: bool,
    pub pids: bool,
    pub blkio_weight: bool,
    pub seccomp: bool,
    pub cgroup_namespace: bool,
}

/// The processor, as far as system calls differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86_64,
    Aarch64,
    Riscv64,
    Other,
}

impl Architecture {
    /// The architecture that this program was built for. Its runtimes and containers have the same one.
    pub(crate) const NATIVE: Self = if cfg!(target_arch = "x86_64") {
        Self::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::Other
    };
}

impl Host {
    /// Examines this machine and this process.
    pub(crate) fn probe() -> Result<Self, ProbeError> {
        let status = read("/proc/self/status")?;
        let cgroups = Cgroups::detect().map_err(|source| ProbeError { path: "/proc/self/mountinfo", source })?;
        let last: u32 = number("/proc/sys/kernel/cap_last_cap")?;
        let effective = mask(&status, "CapEff:");
        let capabilities = effective & mask(&status, "CapPrm:") & mask(&status, "CapBnd:");
        Ok(Self {
            features: Features::probe(&cgroups, status.contains("\nSeccomp:")),
            capabilities,
            known_capabilities: CapabilitySet::up_to(last),
            may_raise_limits: effective.contains(CapabilitySet::SYS_RESOURCE),
            hard_limits: RESOURCES.map(|resource| getrlimit(resource).maximum),
            max_open_files: number("/proc/sys/fs/nr_open")?,
            oom_score_adj: number("/proc/self/oom_score_adj")?,
            architecture: Architecture::NATIVE,
            kernel: kernel_version(&read("/proc/sys/kernel/osrelease")?),
            foreign: Foreign::probe(),
            seccomp_cache: Mutex::default(),
            cgroups,
        })
    }
}

/// Program formats besides the native one that the kernel runs. Unless the kernel's configuration is readable, all are
/// assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// 32-bit x86.
    pub x86: bool,
    /// x86-64 with 32-bit pointers.
    pub x32: bool,
}

impl Foreign {
    fn probe() -> Self {
        kernel_config().map_or(Self { x86: true, x32: true }, |config| Self::of_config(&config))
    }

    fn of_config(config: &str) -> Self {
        let has = |names: &[&str]| config.lines().any(|line| names.contains(&line));
        Self {
            x86: has(&["CONFIG_IA32_EMULATION=y"]),
            // The newer name is of Linux 5.18.
            x32: has(&["CONFIG_X86_X32_ABI=y", "CONFIG_X86_X32=y"]),
        }
    }
}

/// The running kernel's build configuration; `None` where neither the kernel nor the distribution offers it.
fn kernel_config() -> Option<String> {
    /// Far above the size of any configuration.
    const MOST_BYTES: u64 = 4 << 20;
    let mut text = String::new();
    match fs::File::open("/proc/config.gz") {
        Ok(file) => flate2::read::GzDecoder::new(file).take(MOST_BYTES).read_to_string(&mut text).ok()?,
        Err(_) => {
            let release = read("/proc/sys/kernel/osrelease").ok()?;
            let file = fs::File::open(format!("/boot/config-{}", release.trim())).ok()?;
            file.take(MOST_BYTES).read_to_string(&mut text).ok()?
        }
    };
    // Any other text would be taken for a kernel without features.
    text.contains("CONFIG_X86_64=y").then_some(text)
}

impl Features {
    fn probe(cgroups: &Cgroups, seccomp: bool) -> Self {
        let cgroup_namespace = Path::new("/proc/self/ns/cgroup").exists();
        let of_controllers = match cgroups.version() {
            Version::V2 => Self::v2(cgroups),
            Version::V1 | Version::Hybrid => Self::v1(cgroups),
        };
        Self { seccomp, cgroup_namespace, ..of_controllers }
    }

    /// Version 1 shows nearly all of its files in the root of a hierarchy.
    pub(super) fn v1(cgroups: &Cgroups) -> Self {
        let has = |controller: &str, file: &str| {
            cgroups.controller_root(controller).is_some_and(|root| root.join(file).exists())
        };
        Self {
            memory: has("memory", "memory.limit_in_bytes"),
            memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
            swap: has("memory", "memory.memsw.limit_in_bytes"),
            swappiness: has("memory", "memory.swappiness"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_quota: has("cpu", "cpu.cfs_quota_us"),
            cpu_realtime: has("cpu", "cpu.rt_runtime_us"),
            cpuset: has("cpuset", "cpuset.cpus"),
            pids: has("pids", ""),
            // The weight itself is missing in the root; its scheduler's statistics are there.
            blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.io_serviced"),
            seccomp: false,
            cgroup_namespace: false,
        }
    }

    /// Version 2 shows a controller's files only below the root, so a present controller counts with all of them.
    pub(super) fn v2(cgroups: &Cgroups) -> Self {
        let has = |controller: &str| cgroups.controller_root(controller).is_some();
        Self {
            memory: has("memory"),
            memory_reservation: has("memory"),
            swap: cgroups.controller_root("memory").is_some_and(has_swap),
            swappiness: false,
            oom_kill_disable: false,
            cpu_shares: has("cpu"),
            cpu_quota: has("cpu"),
            cpu_realtime: false,
            cpuset: has("cpuset"),
            pids: has("pids"),
            blkio_weight: has("io"),
            seccomp: false,
            cgroup_namespace: false,
        }
    }
}

/// A kernel may account memory but not swap; then `memory.swap.max` is missing beside `memory.max`. If no cgroup below
/// the root accounts memory yet, neither can be seen, and swap accounting is assumed.
fn has_swap(root: &Path) -> bool {
    let children = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut accounting = children.filter(|child| child.join("memory.max").exists());
    accounting.next().is_none_or(|child| child.join("memory.swap.max").exists())
}

/// In the order of `process::ULIMITS`.
const RESOURCES: [Resource; 16] = [
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Locks,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Rss,
    Resource::Rtprio,
    Resource::Rttime,
    Resource::Sigpending,
    Resource::Stack,
    Resource::As,
];

fn mask(status: &str, field: &str) -> CapabilitySet {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    CapabilitySet::from_bits(u64::from_str_radix(line.trim(), 16).unwrap_or_default())
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn read(path: &'static str) -> Result<String, ProbeError> {
    fs::read_to_string(path).map_err(|source| ProbeError { path, source })
}

fn number<T: std::str::FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    path: &'static str,
) -> Result<T, ProbeError> {
    let parsed = read(path)?.trim().parse();
    parsed.map_err(|error| ProbeError { path, source: io::Error::new(io::ErrorKind::InvalidData, error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        for (text, expected) in
            [("6.18.44-fc-v669\n", (6, 18)), ("5.10\n", (5, 10)), ("4.19.90-2109.1.0.oe1", (4, 19)), ("", (0, 0))]
        {
            assert_eq!(kernel_version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_kernel_configuration_decides_on_program_formats() {
        let foreign = |config: &str| {
            let Foreign { x86, x32 } = Foreign::of_config(config);
            (x86, x32)
        };
        assert_eq!(foreign("CONFIG_IA32_EMULATION=y\n# CONFIG_X86_X32_ABI is not set\n"), (true, false));
        assert_eq!(foreign("CONFIG_X86_X32_ABI=y\nCONFIG_IA32_EMULATION_DEFAULT_DISABLED=y\n"), (false, true));
        assert_eq!(foreign("CONFIG_IA32_EMULATION=y\nCONFIG_X86_X32=y\n"), (true, true));
    }

    #[test]
    fn a_probe_matches_the_kernels_files() {
        let host = Host::probe().unwrap();
        assert!(host.known_capabilities.contains(CapabilitySet::SYS_RESOURCE));
        assert!(host.kernel >= (4, 0));
        assert_eq!(host.hard_limits[8], getrlimit(Resource::Nofile).maximum);
    }

    #[test]
    fn version_2_features_follow_the_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let mountinfo = format!("1 0 0:1 / {} rw - cgroup2 cgroup2 rw\n", root.display());
        let cgroups = Cgroups::from_mountinfo(mountinfo.as_bytes());
        let features = Features::v2(&cgroups);
        assert!(features.memory && features.cpu_quota && features.pids && features.blkio_weight && features.swap);
        assert!(!features.swappiness && !features.oom_kill_disable && !features.cpu_realtime);

        fs::create_dir(root.join("system.slice")).unwrap();
        fs::write(root.join("system.slice/memory.max"), "max\n").unwrap();
        assert!(!Features::v2(&cgroups).swap, "memory is accounted, swap is not");
        fs::write(root.join("system.slice/memory.swap.max"), "max\n").unwrap();
        assert!(Features::v2(&cgroups).swap);

        fs::write(root.join("cgroup.controllers"), "cpu\n").unwrap();
        let features = Features::v2(&cgroups);
        assert!(!features.memory && !features.swap && !features.pids && !features.blkio_weight && features.cpu_shares);
    }
}
