//! Tests on trees of plain directories in the place of cgroups.

use std::fs;
use std::path::Path;

use super::*;

fn group() -> GroupPath {
    GroupPath::unchecked("/isulad/c0ffee")
}

fn write(root: &Path, controller: &str, files: &[(&str, &str)]) {
    let dir = group().below(&root.join(controller));
    fs::create_dir_all(&dir).unwrap();
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

fn cgroups(root: &Path, hierarchies: &[(&str, &str)]) -> Cgroups {
    let line = |(name, controllers): &(&str, &str)| {
        let place = root.join(name);
        fs::create_dir_all(&place).unwrap();
        let kind = if name.is_empty() { "cgroup2" } else { "cgroup" };
        format!("3 2 0:3 / {} rw - {kind} cgroup rw,{controllers}\n", place.display())
    };
    let text: String = hierarchies.iter().map(line).collect();
    Cgroups::from_mountinfo(text.as_bytes())
}

const STAT_V1: &str = "cache 1\nrss 2\ninactive_file 3\ntotal_cache 4000\ntotal_rss 5000\ntotal_swap 6000\n\
                       total_pgfault 7\ntotal_pgmajfault 8\ntotal_inactive_file 1000\n";

#[test]
fn version_1() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let hierarchies = [("cpu", "cpu,cpuacct"), ("memory", "memory"), ("blkio", "blkio"), ("pids", "pids")];
    let cgroups = cgroups(root, &hierarchies);
    write(root, "cpu", &[("cpuacct.usage", "123456789\n"), ("cpuacct.stat", "user 3\nsystem 4\n")]);
    let memory = [
        ("memory.usage_in_bytes", "9000\n"),
        ("memory.limit_in_bytes", "1048576\n"),
        ("memory.stat", STAT_V1),
        ("memory.kmem.usage_in_bytes", "77\n"),
    ];
    write(root, "memory", &memory);
    let io = "8:0 Read 100\n8:0 Write 20\n8:0 Sync 1\n8:0 Total 120\n8:16 Read 5\n8:16 Write 6\nTotal 131\n";
    write(root, "blkio", &[("blkio.throttle.io_service_bytes", io)]);
    write(root, "pids", &[("pids.current", "3\n"), ("pids.max", "max\n")]);
    let meter = Meter::new(&cgroups);
    assert_eq!(meter.cpu_usage(&group()), Some(123_456_789));
    let expected = Counters {
        cpu_usage: None,
        cpu_user: Some(30_000_000),
        cpu_system: Some(40_000_000),
        memory_usage: Some(8000),
        memory_limit: Some(1 << 20),
        memory_total: Some(9000),
        memory_cache: Some(4000),
        memory_rss: Some(5000),
        swap_usage: Some(6000),
        page_faults: Some(7),
        major_page_faults: Some(8),
        kernel_memory: Some(77),
        block_read: Some(105),
        block_write: Some(26),
        pids: Some(3),
        pids_limit: None,
    };
    assert_eq!(meter.others(&group()), expected);
    // Those of the levels below are in a file of their own, where there is one.
    write(root, "blkio", &[("blkio.throttle.io_service_bytes_recursive", "8:0 Read 7\n8:0 Write 9\nTotal 16\n")]);
    assert_eq!((meter.others(&group()).block_read, meter.others(&group()).block_write), (Some(7), Some(9)));
}

#[test]
fn version_2() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::write(root.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
    let cgroups = cgroups(root, &[("", "nsdelegate")]);
    let files = [
        ("cpu.stat", "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\nnr_periods 0\n"),
        ("memory.current", "9000\n"),
        ("memory.max", "max\n"),
        ("memory.swap.current", "11\n"),
        ("memory.stat", "anon 5000\nfile 4000\nkernel 77\ninactive_file 1000\npgfault 7\npgmajfault 8\n"),
        ("io.stat", "8:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=6 rios=1\n"),
        ("pids.current", "3\n"),
        ("pids.max", "100\n"),
    ];
    write(root, "", &files);
    let meter = Meter::new(&cgroups);
    assert_eq!(meter.cpu_usage(&group()), Some(2_500_000));
    let expected = Counters {
        cpu_usage: None,
        cpu_user: Some(2_000_000),
        cpu_system: Some(500_000),
        memory_usage: Some(8000),
        memory_limit: machine_memory(&fs::read_to_string("/proc/meminfo").unwrap()),
        memory_total: Some(9000),
        memory_cache: Some(4000),
        memory_rss: Some(5000),
        swap_usage: Some(11),
        page_faults: Some(7),
        major_page_faults: Some(8),
        kernel_memory: Some(77),
        block_read: Some(105),
        block_write: Some(26),
        pids: Some(3),
        pids_limit: Some(100),
    };
    assert_eq!(meter.others(&group()), expected);
}

#[test]
fn a_removed_cgroup_has_no_counters() {
    let dir = tempfile::tempdir().unwrap();
    let cgroups = cgroups(dir.path(), &[("memory", "memory"), ("pids", "pids")]);
    fs::write(dir.path().join("memory/memory.usage_in_bytes"), "5\n").unwrap();
    let meter = Meter::new(&cgroups);
    assert_eq!(meter.cpu_usage(&group()), None);
    assert_eq!(meter.others(&group()), Counters::default());
}

#[test]
fn a_limit_beyond_the_machine_is_the_machines() {
    assert_eq!(machine_memory("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16384));
    assert_eq!(machine_memory(""), None);
    let dir = tempfile::tempdir().unwrap();
    let cgroups = cgroups(dir.path(), &[("memory", "memory")]);
    let files = [("memory.usage_in_bytes", "5\n"), ("memory.limit_in_bytes", "9223372036854771712\n")];
    write(dir.path(), "memory", &files);
    assert!(Meter::new(&cgroups).others(&group()).memory_limit.unwrap() < 1 << 60);
}
