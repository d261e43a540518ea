//! The cgroups below one parent, in every hierarchy of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::deadline;
use crate::process::{Process, Signal};

/// The mounted hierarchies, as this process sees them.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mut found: Vec<PathBuf> = cgroups.filter_map(|line| line.split(' ').nth(4).map(PathBuf::from)).collect();
    found.sort();
    found.dedup();
    found
}

/// Whether version 2's hierarchy is mounted beside those of version 1, which crun takes for a pure version 2.
pub fn hybrid() -> bool {
    Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists()
}

/// The file of a controller, for a cgroup named from the root: version 1's place or version 2's.
pub fn file(controller: &str, cgroup: &str, v1: &str, v2: &str) -> PathBuf {
    let cgroup = cgroup.trim_start_matches('/');
    let old = Path::new("/sys/fs/cgroup").join(controller);
    if old.is_dir() { old.join(cgroup).join(v1) } else { Path::new("/sys/fs/cgroup").join(cgroup).join(v2) }
}

/// Cgroups below `parent`, of any depth, children first; the shims' own is not one of a container.
pub fn below(parent: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        let root = hierarchy.join(parent.trim_start_matches('/'));
        collect(&root, &mut found);
        found.retain(|dir| *dir != root && !dir.ends_with("shims"));
    }
    found
}

/// Kills all processes below `parent` and removes the cgroups, with the parent.
pub fn clear(parent: &str) {
    let mut groups = Vec::new();
    for hierarchy in hierarchies() {
        collect(&hierarchy.join(parent.trim_start_matches('/')), &mut groups);
    }
    // First of all, in whichever hierarchy that is: a frozen process dies when it is thawed.
    for group in &groups {
        let _ = fs::write(group.join("freezer.state"), "THAWED");
        let _ = fs::write(group.join("cgroup.freeze"), "0");
    }
    for group in &groups {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let processes: Vec<_> = processes.lines().filter_map(|line| Process::of(line.parse().ok()?)).collect();
        processes.iter().for_each(|process| process.signal(Signal::KILL));
        for process in processes {
            process.wait_gone(deadline::PATIENCE);
        }
    }
    for group in &groups {
        let _ = fs::remove_dir(group);
    }
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect(&entry.path(), found);
    }
    found.push(dir.to_owned());
}
