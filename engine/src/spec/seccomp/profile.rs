//! The default profile: calls that it does not name fail with EPERM.
//!
//! Left out are calls that reach beyond a container (modules, reboot, clocks, mounts, namespaces, quotas, kernel logs,
//! raw ports), calls without a use today that had bugs (old calls, `keyctl` and `userfaultfd`, io_uring), and calls
//! that only help to attack. A capability of the container opens the calls that need it.

use std::borrow::Cow;

use super::super::capabilities::CapabilitySet;
use super::super::host::{Architecture, Foreign};
use super::super::oci::{Argument, Seccomp, Syscalls};

pub(super) const ALLOW: &str = "SCMP_ACT_ALLOW";
pub(super) const ERRNO: &str = "SCMP_ACT_ERRNO";
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`
const NEW_NAMESPACES: u64 = 0x7e02_0000;
const AF_VSOCK: u64 = 40;

/// Linux, 32-bit Linux, each with and without the old uname; and the query of the present one.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Open to every container, on every processor; the runtimes skip names that a processor does not have.
const ALWAYS: &[&str] = &[
    // Files by descriptor.
    "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 close close_range dup dup2 dup3 lseek _llseek",
    "fcntl fcntl64 flock ioctl fsync fdatasync sync syncfs sync_file_range ftruncate ftruncate64 fallocate readahead",
    "fadvise64 fadvise64_64 copy_file_range sendfile sendfile64 splice tee vmsplice pipe pipe2",
    // Files by name.
    "open openat openat2 creat name_to_handle_at mknod mknodat mkdir mkdirat rmdir link linkat symlink symlinkat unlink",
    "unlinkat rename renameat renameat2 readlink readlinkat truncate truncate64 umask chdir fchdir getcwd",
    "chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32",
    "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs",
    "fstatfs64 statmount listmount cachestat utime utimes utimensat utimensat_time64 futimesat getdents getdents64",
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr",
    "listxattrat removexattr lremovexattr fremovexattr removexattrat",
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
    // Waiting for several.
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old",
    "epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4",
    "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64",
    // Sockets; `socket` itself is below.
    "accept accept4 bind connect listen shutdown socketcall socketpair getsockname getpeername getsockopt setsockopt",
    "recv recvfrom recvmsg recvmmsg recvmmsg_time64 send sendto sendmsg sendmmsg",
    // Memory.
    "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall mseal",
    "memfd_create memfd_secret membarrier remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack",
    // Processes and threads; `clone` and `clone3` are below.
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill pause",
    "getpid getppid gettid getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal process_mrelease",
    "prctl seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    "lsm_get_self_attr lsm_list_modules lsm_set_self_attr rseq set_robust_list get_robust_list set_tid_address",
    "set_thread_area get_thread_area futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue uretprobe",
    "getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit ugetrlimit prlimit64 getrusage times getcpu",
    "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam",
    "sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval",
    "sched_rr_get_interval_time64",
    // Users and capabilities: the capabilities themselves are the limit.
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32",
    "getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32",
    "setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset",
    // Signals.
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait",
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn restart_syscall",
    // Time; to set the clock is below, reading its adjustment is harmless.
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep",
    "clock_nanosleep_time64 nanosleep alarm getitimer setitimer adjtimex clock_adjtime clock_adjtime64",
    "timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64",
    "timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    // System V and POSIX inter-process communication.
    "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    "mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink",
    // The system.
    "getrandom sysinfo uname",
];

/// Open to a container with the capability.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount \
         umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Since 4.8 a tracer cannot evade its own filter.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";
const TRACING_SINCE: (u32, u32) = (4, 8);

/// The capabilities that make a difference to the profile.
pub(super) fn deciding() -> CapabilitySet {
    BY_CAPABILITY
        .iter()
        .filter_map(|(name, _)| CapabilitySet::named(name))
        .fold(CapabilitySet::EMPTY, |set, one| set | one)
}

/// The profile of a container with `capabilities`.
pub(super) fn expand(
    capabilities: CapabilitySet,
    architecture: Architecture,
    foreign: Foreign,
    kernel: (u32, u32),
) -> Seccomp {
    let has = |name| CapabilitySet::named(name).is_some_and(|one| capabilities.contains(one));
    let mut names: Vec<&'static str> = ALWAYS.iter().flat_map(|line| line.split_whitespace()).collect();
    names.extend(of_architecture(architecture).split_whitespace());
    if kernel >= TRACING_SINCE {
        names.extend(TRACING.split_whitespace());
    }
    for (_, opened) in BY_CAPABILITY.iter().filter(|(name, _)| has(name)) {
        names.extend(opened.split_whitespace());
    }
    names.sort_unstable();
    names.dedup();

    let mut syscalls = vec![rule(names, ALLOW, None, Vec::new())];
    // Sockets to the hypervisor are not isolated by a network namespace.
    syscalls.push(rule(vec!["socket"], ALLOW, None, vec![argument(0, AF_VSOCK, 0, "SCMP_CMP_NE")]));
    for value in PERSONALITIES {
        syscalls.push(rule(vec!["personality"], ALLOW, None, vec![argument(0, value, 0, "SCMP_CMP_EQ")]));
    }
    if !has("CAP_SYS_ADMIN") {
        let no_namespace = argument(0, NEW_NAMESPACES, 0, "SCMP_CMP_MASKED_EQ");
        syscalls.push(rule(vec!["clone"], ALLOW, None, vec![no_namespace]));
        // Its flags are in memory, where a filter cannot look; with ENOSYS a C library falls back to `clone`.
        syscalls.push(rule(vec!["clone3"], ERRNO, Some(ENOSYS), Vec::new()));
    }
    Seccomp {
        default_action: ERRNO.into(),
        default_errno_ret: Some(EPERM),
        architectures: architectures(architecture, foreign).into_iter().map(Cow::Borrowed).collect(),
        flags: Vec::new(),
        syscalls,
    }
}

/// Architectures with programs that this processor and kernel run. Each costs a start some milliseconds, since runtimes
/// compile the profile for each anew. A call of any other ends the process with SIGSYS: libseccomp's action for
/// unlisted architectures, which an OCI spec cannot change. `docs/cli.md` documents this for x32, whose calls would be
/// ENOSYS if it were listed on a kernel without it.
fn architectures(architecture: Architecture, foreign: Foreign) -> Vec<&'static str> {
    match architecture {
        Architecture::X86_64 => {
            [("SCMP_ARCH_X86_64", true), ("SCMP_ARCH_X86", foreign.x86), ("SCMP_ARCH_X32", foreign.x32)]
                .into_iter()
                .filter_map(|(name, runs)| runs.then_some(name))
                .collect()
        }
        Architecture::Aarch64 => vec!["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        Architecture::Riscv64 => vec!["SCMP_ARCH_RISCV64"],
        // Left to the runtime.
        Architecture::Other => Vec::new(),
    }
}

fn of_architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "arch_prctl modify_ldt",
        Architecture::Aarch64 => "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        Architecture::Riscv64 => "riscv_flush_icache riscv_hwprobe",
        Architecture::Other => "",
    }
}

fn rule(names: Vec<&'static str>, action: &'static str, errno_ret: Option<u32>, args: Vec<Argument>) -> Syscalls {
    Syscalls { names: names.into_iter().map(Cow::Borrowed).collect(), action: action.into(), errno_ret, args }
}

fn argument(index: u32, value: u64, value_two: u64, op: &'static str) -> Argument {
    Argument { index, value, value_two, op: op.into() }
}
