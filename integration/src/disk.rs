//! A disk that can lose its power, with everything that runs on it: a power cut loses unsynced data, which `kill -9`
//! does not.
//!
//! An ext4 on a file holds graph and state. Every process ends at once, and then the file, without a sync or an
//! unmount, is all that is left: data that the kernel still had in memory is not in it. A loop device with direct I/O
//! and no timed commits of the journal make unsynced data as absent as on a disk.
//!
//! Since every process ends, this works only in a pid namespace of its own: see [`in_own_machine`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, umount2};

use crate::node::Node;
use crate::process::{self, Process, Signal};
use crate::{binaries, cgroup, command};

const BYTES: u64 = 96 << 20;
/// Set within a machine of its own: the pid namespace outside.
const OUTSIDE: &str = "ISULA_TEST_OUTSIDE";
/// Set within as well: a name that no other has.
const MACHINE: &str = "ISULA_TEST_MACHINE";

/// Runs `test`, which is the body of the test that is called `name`, in namespaces of its own for processes, mounts and
/// networks: in this program once more. All of it ends with this call.
///
/// # Panics
/// When it fails in there.
#[track_caller]
pub fn in_own_machine(name: &str, test: impl FnOnce()) {
    if is_own_machine() {
        return test();
    }
    // Process 1 reaps orphaned processes, which the shell does while it waits.
    let script = "ip link set lo up; umount /sys/fs/cgroup/unified 2>/dev/null; \"$@\"; exit $?";
    let program = std::env::current_exe().expect("this program has a path");
    let mut machine = Command::new(binaries::required("unshare"));
    machine.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--mount", "--net", "--propagation", "private"]);
    machine.args(["sh", "-c", script, "sh"]).arg(program).args([name, "--exact", "--nocapture", "--test-threads=1"]);
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    machine.env(OUTSIDE, pid_namespace()).env(MACHINE, format!("{}m{number}", std::process::id()));
    let output = machine.stdin(Stdio::null()).output().expect("unshare runs");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(output.status.success(), "{name} has failed in its own machine ({}):\n{printed}", output.status);
}

/// An id of this program among others on the same kernel, unique also in new pid namespaces: for names of its nodes.
pub(crate) fn machine() -> String {
    std::env::var(MACHINE).unwrap_or_else(|_| std::process::id().to_string())
}

fn pid_namespace() -> PathBuf {
    fs::read_link("/proc/self/ns/pid").expect("the kernel has pid namespaces")
}

fn is_own_machine() -> bool {
    let Some(outside) = std::env::var_os(OUTSIDE) else { return false };
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    assert!(Path::new(&outside) != pid_namespace() && first.trim() == "sh", "{OUTSIDE} is set by hand");
    true
}

/// The disk of one node.
#[derive(Debug)]
pub struct Disk {
    /// The number of times it was exchanged for the state that a cut has left.
    cuts: u32,
}

impl Disk {
    /// Puts graph and state of a node that has no daemon yet on a disk.
    pub fn under(node: &mut Node) -> Self {
        assert!(is_own_machine(), "a disk that loses its power needs a machine of its own");
        let disk = Self { cuts: 0 };
        let file = disk.file(node);
        fs::File::create(&file).and_then(|file| file.set_len(BYTES)).expect("the node's directory is ours");
        // Little to replay, and nothing that is written later by a thread of the kernel.
        let options = ["-q", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        command::tool(&[&["mkfs.ext4"], options.as_slice(), &[text(&file)]].concat());
        disk.mount(node);
        disk
    }

    /// Ends all processes but process 1, this one and `spared`; the node then has the data that had reached the disk.
    /// State goes with the memory that it lies in, unless `keep_state` is set.
    pub fn cut(&mut self, node: &mut Node, spared: Process, keep_state: bool) {
        end_all_but(spared);
        node.kill9();
        let old = self.file(node);
        self.cuts += 1;
        command::tool(&["cp", "--sparse=always", text(&old), text(&self.file(node))]);
        // Cgroups belong to a boot and go with it.
        cgroup::clear(node.cgroup_parent());
        for mount in below(node.dir()).iter().rev() {
            umount2(mount, MntFlags::MNT_DETACH).expect("a mount can be unmounted");
        }
        fs::remove_file(old).expect("the node's directory is ours");
        let _ = fs::remove_dir_all(node.netns_dir());
        self.mount(node);
        if !keep_state {
            for entry in fs::read_dir(node.state()).expect("it is there").flatten() {
                let path = entry.path();
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.expect("nothing is mounted there");
            }
        }
    }

    fn file(&self, node: &Node) -> PathBuf {
        node.dir().join(format!("disk{}.img", self.cuts))
    }

    fn mount(&self, node: &mut Node) {
        let disk = node.dir().join("disk");
        fs::create_dir_all(&disk).expect("the node's directory is ours");
        let device = command::tool(&["losetup", "--direct-io=on", "--find", "--show", text(&self.file(node))]);
        let options = "commit=300,noauto_da_alloc";
        command::tool(&["mount", "-t", "ext4", "-o", options, &device, text(&disk)]);
        // The device goes with its last mount, also when this process is killed.
        command::tool(&["losetup", "--detach", &device]);
        let mut own = vec![disk.clone()];
        for (name, place) in [("g", node.graph()), ("s", node.state())] {
            let part = disk.join(name);
            fs::create_dir_all(&part).expect("the disk is ours");
            command::tool(&["mount", "--bind", text(&part), text(&place)]);
            own.push(place);
        }
        node.set_own_mounts(own);
    }
}

/// Stopped first: none of them may act on another's end.
fn end_all_but(spared: Process) {
    assert!(is_own_machine(), "every process would end");
    let itself = std::process::id().cast_signed();
    let all = || process::all().filter(move |it| it.pid != 1 && it.pid != itself && *it != spared && it.alive());
    for _ in 0..2 {
        all().for_each(|process| process.signal(Signal::STOP));
    }
    crate::deadline::until("every process has ended", || {
        let left: Vec<Process> = all().collect();
        left.iter().for_each(|process| process.signal(Signal::KILL));
        left.is_empty()
    });
}

/// Mount points below, in the order in which they were mounted.
fn below(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(dir)).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' paths are UTF-8")
}
