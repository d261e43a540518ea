//! The world differs from the journal: pids used again, a host that was restarted, a state directory that is gone.

use std::fs;
use std::process::{Child, Command};

use integration::process::{Process, Signal};
use integration::{Node, Runtime, deadline};
use nix::mount::{MntFlags, umount2};

on_each_runtime!(
    a_reused_pid_is_never_signalled,
    the_host_was_restarted,
    a_pid_of_another_boot_is_never_signalled,
    the_state_directory_is_gone,
    the_state_directory_was_removed_meanwhile,
);

/// A process of our own that has nothing to do with containers.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("100000").spawn().expect("sleep runs"))
    }

    fn process(&self) -> Process {
        Process::of(self.0.id().cast_signed()).expect("a child not waited for is in /proc")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_pid(node: &Node, id: &str, name: &str, process: Process) {
    let line = format!("{} {}\n", process.pid, process.start_time);
    fs::write(node.state_dir(id).join(name), line).expect("the state directory is there");
}

fn a_reused_pid_is_never_signalled(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let (process, shim) = (node.process_of("x"), node.shim_of("x"));
    let stranger = Stranger::new();
    node.kill9();
    shim.kill();
    process.kill();
    // The pids are a foreign process's now, the start times those of the dead.
    let number = stranger.process().pid;
    write_pid(&node, &id, "pid", Process { pid: number, ..process });
    write_pid(&node, &id, "shim-pid", Process { pid: number, ..shim });
    node.launch();
    node.verified();
    assert_eq!(node.status_of("x"), "exited");
    node.ok(&["start", "x"]);
    let (process, shim) = (node.process_of("x"), node.shim_of("x"));
    node.kill9();
    // A file alone lies, the container lives: the journal knows better.
    write_pid(&node, &id, "shim-pid", Process { pid: number, ..shim });
    write_pid(&node, &id, "pid", Process { pid: number, ..process });
    node.launch();
    node.verified();
    assert_eq!(node.process_of("x"), process);
    node.ok(&["stop", "x"]);
    node.ok(&["rm", "-f", "x"]);
    assert!(stranger.process().alive());
    deadline::until("no shim is left", || node.shims().is_empty());
    node.assert_clean_end();
}

pub(crate) const OTHER_BOOT: (&str, &str) = ("ISULAD_BOOT_ID", "0123456789abcdef0123456789abcdef");

/// Ends all that runs, as a restart of the host would; the state directory is left.
pub(crate) fn power_cut(node: &mut Node, processes: Vec<Process>) {
    node.kill9();
    processes.iter().for_each(|process| process.signal(Signal::KILL));
    integration::cgroup::clear(node.cgroup_parent());
    for mount in node.mounts() {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
}

fn the_host_was_restarted(runtime: Runtime) {
    let mut node = Node::start(runtime);
    node.create(&["--name", "created"], &["true"]);
    node.run_detached(&["--name", "recorded"], &["sh", "-c", "trap 'exit 5' TERM; echo ready; sleep 100000 & wait"]);
    node.written("recorded", "ready");
    node.sleeper("running");
    node.sleeper("paused");
    node.ok(&["pause", "paused"]);
    let (process, shim) = (node.process_of("recorded"), node.shim_of("recorded"));
    let names = ["running", "paused"];
    let others: Vec<Process> = names.iter().flat_map(|name| [node.shim_of(name), node.process_of(name)]).collect();
    node.kill9();
    process.signal(Signal::TERM);
    assert!(shim.wait_gone(deadline::PATIENCE));
    power_cut(&mut node, others);
    fs::remove_dir_all(node.state()).expect("the state directory can be removed");

    node.launch_with(&[OTHER_BOOT]);
    node.verified();
    assert_eq!(node.status_of("created"), "inited");
    assert_eq!(node.state_of("recorded")["ExitCode"], 5, "what was recorded is known");
    for name in names {
        let state = node.state_of(name);
        assert_eq!(state["Status"], "exited");
        assert!(state["ExitCode"].is_null(), "{state}");
        assert_eq!(state["ExitCause"], "the host was restarted while the container ran");
        node.ok(&["start", name]);
        assert!(node.process_of(name).alive());
    }
    node.assert_clean_end();
}

fn a_pid_of_another_boot_is_never_signalled(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let processes = vec![node.shim_of("x"), node.process_of("x")];
    power_cut(&mut node, processes);
    // A state directory that outlives the restart, and processes of the new boot that have both numbers of the old
    // ones.
    let stranger = Stranger::new();
    write_pid(&node, &id, "pid", stranger.process());
    write_pid(&node, &id, "shim-pid", stranger.process());
    node.launch_with(&[OTHER_BOOT]);
    node.verified();
    assert_eq!(node.status_of("x"), "exited");
    assert!(stranger.process().alive());
    node.assert_clean_end();
    assert!(stranger.process().alive());
}

fn the_state_directory_is_gone(runtime: Runtime) {
    let node = Node::start(runtime);
    node.run_detached(&["--name", "x"], &["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"]);
    node.written("x", "ready");
    let id = node.sleeper("y");
    let process = node.process_of("x");
    fs::remove_dir_all(node.state().join(runtime.name())).expect("the state directory can be removed");
    assert!(process.alive());
    assert_eq!(node.status_of("x"), "running");
    node.ok(&["stop", "x"]);
    assert_eq!(node.state_of("x")["ExitCode"], 7, "its true end is known all the same");
    node.ok(&["start", "x"]);
    node.ok(&["rm", "-f", "y"]);
    assert!(node.list().iter().all(|it| it.id != id));
    assert_clean_end(&node);
}

fn the_state_directory_was_removed_meanwhile(runtime: Runtime) {
    let mut node = Node::start(runtime);
    node.run_detached(&["--name", "x"], &["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"]);
    node.written("x", "ready");
    node.sleeper("y");
    let process = node.process_of("x");
    node.kill9();
    fs::remove_dir_all(node.state()).expect("the state directory can be removed");
    node.launch();
    node.verified();
    assert_eq!(node.process_of("x"), process, "it lives on");
    node.ok(&["stop", "x"]);
    assert_eq!(node.state_of("x")["ExitCode"], 7, "its true end is known all the same");
    node.ok(&["start", "x"]);
    assert_clean_end(&node);
}

/// A shim without its state directory is unknown to the daemon, and leaves by itself after its container.
fn assert_clean_end(node: &Node) {
    node.remove_all();
    deadline::until("the shims have left", || node.shims().is_empty());
    node.assert_clean_end();
}
