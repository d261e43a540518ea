//! The calls that a profile opens, and the translation of a user's profile.

use std::collections::BTreeSet;

use super::super::host::{Architecture, Foreign};
use super::custom::translate;
use super::profile::{deciding, expand};
use super::*;

const KERNEL: (u32, u32) = (6, 18);
const ALL: Foreign = Foreign { x86: true, x32: true };

fn caps(names: &[&str]) -> CapabilitySet {
    names.iter().map(|name| CapabilitySet::named(name).unwrap()).fold(CapabilitySet::EMPTY, |set, one| set | one)
}

/// The calls that are allowed whatever their arguments.
fn open(capabilities: CapabilitySet, architecture: Architecture, kernel: (u32, u32)) -> BTreeSet<String> {
    let rules = expand(capabilities, architecture, ALL, kernel).syscalls;
    let open = rules.iter().filter(|rule| rule.action == "SCMP_ACT_ALLOW" && rule.args.is_empty());
    open.flat_map(|rule| rule.names.iter().map(|name| name.to_string())).collect()
}

#[test]
fn a_container_without_capabilities_cannot_reach_beyond_itself() {
    let open = open(CapabilitySet::EMPTY, Architecture::X86_64, KERNEL);
    for name in [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "clone",
        "clone3",
        "bpf",
        "reboot",
        "init_module",
        "finit_module",
        "kexec_load",
        "kexec_file_load",
        "swapon",
        "swapoff",
        "pivot_root",
        "chroot",
        "open_by_handle_at",
        "acct",
        "settimeofday",
        "clock_settime",
        "iopl",
        "ioperm",
        "keyctl",
        "add_key",
        "request_key",
        "userfaultfd",
        "perf_event_open",
        "quotactl",
        "syslog",
        "sethostname",
        "nfsservctl",
        "uselib",
        "_sysctl",
        "create_module",
        "io_uring_setup",
        "mbind",
        "move_pages",
        "process_madvise",
        "pidfd_getfd",
        "kcmp",
        "fsopen",
        "move_mount",
        "socket",
        "personality",
    ] {
        assert!(!open.contains(name), "{name}");
    }
    for name in ["read", "openat", "execve", "futex", "epoll_wait", "ptrace", "arch_prctl", "statx", "rseq", "accept4"]
    {
        assert!(open.contains(name), "{name}");
    }
    assert!(open.len() > 330, "{}", open.len());
}

#[test]
fn a_capability_opens_its_calls() {
    for (name, call) in [
        ("SYS_ADMIN", "mount"),
        ("SYS_ADMIN", "clone3"),
        ("SYS_CHROOT", "chroot"),
        ("SYS_TIME", "clock_settime"),
        ("SYS_MODULE", "init_module"),
        ("SYS_BOOT", "reboot"),
        ("DAC_READ_SEARCH", "open_by_handle_at"),
        ("SYSLOG", "syslog"),
        ("BPF", "bpf"),
        ("PERFMON", "perf_event_open"),
        ("SYS_NICE", "mbind"),
        ("SYS_PTRACE", "kcmp"),
    ] {
        assert!(open(caps(&[name]), Architecture::X86_64, KERNEL).contains(call), "{name}");
        let others = deciding().without(caps(&[name, "SYS_ADMIN"]));
        assert!(!open(others, Architecture::X86_64, KERNEL).contains(call), "{call} without {name}");
    }
}

#[test]
fn arguments_are_filtered() {
    let rules = expand(CapabilitySet::EMPTY, Architecture::X86_64, ALL, KERNEL).syscalls;
    let of = |name: &str| rules.iter().filter(|rule| rule.names.iter().any(|known| known == name)).collect::<Vec<_>>();
    let clone = of("clone");
    assert_eq!((clone.len(), clone[0].args[0].value, clone[0].args[0].value_two), (1, 0x7e02_0000, 0));
    assert_eq!(clone[0].args[0].op, "SCMP_CMP_MASKED_EQ");
    // Every flag that makes a namespace, new and old; CLONE_NEWTIME is no flag of this call.
    let flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    assert_eq!(clone[0].args[0].value, flags as u64);
    assert_eq!((of("clone3")[0].action.as_ref(), of("clone3")[0].errno_ret), ("SCMP_ACT_ERRNO", Some(38)));
    assert_eq!((of("socket")[0].args[0].op.as_ref(), of("socket")[0].args[0].value), ("SCMP_CMP_NE", 40));
    assert_eq!(of("personality").len(), 5);
    let admin = expand(caps(&["SYS_ADMIN"]), Architecture::X86_64, ALL, KERNEL).syscalls;
    assert!(admin.iter().all(|rule| rule.action == "SCMP_ACT_ALLOW"));
}

#[test]
fn processors_and_kernels_differ() {
    let all = |architecture| open(CapabilitySet::EMPTY, architecture, KERNEL);
    assert!(all(Architecture::X86_64).contains("modify_ldt") && !all(Architecture::Aarch64).contains("modify_ldt"));
    assert!(all(Architecture::Aarch64).contains("cacheflush") && !all(Architecture::X86_64).contains("cacheflush"));
    assert!(all(Architecture::Riscv64).contains("riscv_flush_icache"));
    assert!(!open(CapabilitySet::EMPTY, Architecture::X86_64, (4, 4)).contains("ptrace"));
    let names = |architecture| expand(CapabilitySet::EMPTY, architecture, ALL, KERNEL).architectures;
    assert_eq!(names(Architecture::X86_64), ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let without = |foreign| expand(CapabilitySet::EMPTY, Architecture::X86_64, foreign, KERNEL).architectures;
    assert_eq!(without(Foreign { x32: false, ..ALL }), ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    assert_eq!(without(Foreign { x86: false, x32: false }), ["SCMP_ARCH_X86_64"]);
    assert_eq!(names(Architecture::Aarch64), ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert_eq!(names(Architecture::Riscv64), ["SCMP_ARCH_RISCV64"]);
}

#[test]
fn one_expansion_serves_all_that_need_the_same() {
    let host = Host::probe().unwrap();
    let (one, two) = (cached(caps(&["CHOWN"]), &host), cached(caps(&["KILL", "MKNOD"]), &host));
    assert!(Arc::ptr_eq(&one, &two), "none of these decides anything");
    assert!(!Arc::ptr_eq(&one, &cached(caps(&["SYS_CHROOT"]), &host)));
}

#[test]
fn the_cache_is_bounded() {
    let host = Host::probe().unwrap();
    let numbers = (0..41).filter(|number| deciding().contains(CapabilitySet::from_bits(1 << number))).take(8);
    let bits: Vec<u64> = numbers.map(|number| 1 << number).collect();
    for choice in 0..256_u64 {
        let chosen = bits.iter().enumerate().filter(|(index, _)| choice & (1 << index) != 0).map(|(_, bit)| bit);
        let set = CapabilitySet::from_bits(chosen.sum());
        assert_eq!(*cached(set, &host), expand(set, host.architecture, host.foreign, host.kernel));
    }
    assert!(host.seccomp_cache.lock().unwrap().len() <= MOST_CACHED);
}

fn translated(json: &str, capabilities: &[&str]) -> oci::Seccomp {
    translate(json, caps(capabilities), Architecture::X86_64, KERNEL).unwrap()
}

#[test]
fn conditions_are_decided() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}
        ],
        "syscalls": [
            {"names": ["always"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
            {"name": "old", "action": "SCMP_ACT_ALLOW", "args": null},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
            {"names": ["both"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}},
            {"names": ["strange"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_OF_TOMORROW"]}},
            {"names": ["not kill"], "action": "SCMP_ACT_TRAP", "excludes": {"caps": ["CAP_KILL"]}},
            {"names": ["intel"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["x86", "amd64"]}},
            {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["not intel"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.19"}},
            {"names": ["known"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.20"}},
            {"names": ["not known"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
            {"names": ["argument"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
             "args": [{"index": 2, "value": 18446744073709551615, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}
        ]}"#;
    let names = |capabilities: &[&str]| {
        let rules = translated(json, capabilities).syscalls;
        rules.into_iter().flat_map(|rule| rule.names).map(|name| name.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["always", "old", "not kill", "intel", "known", "argument"]);
    assert_eq!(names(&["KILL"]), ["always", "old", "kill", "intel", "known", "argument"]);
    assert_eq!(names(&["KILL", "CHOWN"]), ["always", "old", "kill", "both", "intel", "known", "argument"]);
    let whole = translated(json, &[]);
    assert_eq!((whole.default_action.as_ref(), whole.default_errno_ret), ("SCMP_ACT_ERRNO", Some(13)));
    assert_eq!(whole.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    let argument = whole.syscalls.last().unwrap();
    assert_eq!(argument.errno_ret, Some(5));
    assert_eq!((argument.args[0].index, argument.args[0].value, argument.args[0].value_two), (2, u64::MAX, 3));
}

#[test]
fn an_invalid_profile_is_refused_with_its_place() {
    let rule = |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    let cases = [
        ("{\n  \"defaultAction\": oops}".to_owned(), "line 2, column 20"),
        ("".to_owned(), "line 1, column 0"),
        ("{}".to_owned(), "line 1, column 2"),
        ("{\"defaultAction\": 1}".to_owned(), "line 1, column 19"),
        (r#"{"defaultAction": "ALLOW"}"#.to_owned(), "unknown action `ALLOW`"),
        (rule(r#"{"action": "SCMP_ACT_ALLOW"}"#), "rule 1 of the profile names no system call"),
        (rule(r#"{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}"#), "both `name` and `names`"),
        (rule(r#"{"names": ["a"], "action": "YES"}"#), "unknown action `YES`"),
        (rule(r#"{"names": ["a"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#), "argument 6"),
        (rule(r#"{"names": ["a"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 0, "op": "="}]}"#), "comparison `=` in rule 1"),
        (rule(r#"{"names": ["a"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}"#), "`new` in rule 1"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#.to_owned(), "both `architectures` and `archMap`"),
    ];
    for (json, expected) in cases {
        let error = translate(&json, CapabilitySet::EMPTY, Architecture::X86_64, KERNEL).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} does not contain {expected:?}");
    }
}
