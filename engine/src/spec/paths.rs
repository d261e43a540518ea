//! Paths below `/proc` and `/sys` that an unprivileged container must not read or change.
//!
//! No kernel has all of them: some belong to a distribution, some to a module that may be loaded later. A runtime skips
//! missing ones, so all are always named.

/// Not visible in the container.
pub(super) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/cpuirqstat",
    "/proc/fdenable",
    "/proc/fdstat",
    "/proc/fdthreshold",
    "/proc/files_panic_enable",
    "/proc/interrupts",
    "/proc/iomem_ext",
    "/proc/kbox",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/livepatch",
    "/proc/lru_info/dump_lru_info",
    "/proc/lru_info/lru_info_file",
    "/proc/memstat",
    "/proc/net_namespace",
    "/proc/oom_extend",
    "/proc/pagealloc_bt",
    "/proc/pagealloc_module",
    "/proc/pagealloc_statistics",
    "/proc/pin_memory",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sig_catch",
    "/proc/signo",
    "/proc/slaballoc_bt",
    "/proc/slaballoc_module",
    "/proc/slaballoc_statistics",
    "/proc/sysmonitor",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Visible, but never writable.
pub(super) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-region-size", "/proc/sysrq-trigger"];
