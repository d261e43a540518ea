//! `isula update`: `inspect` agrees with the cgroups, live, after a restart, and after any end of the daemon.

use std::fs;

use integration::process::Signal;
use integration::{Node, Runtime, cgroup, command, deadline};

on_each_runtime!(
    limits_of_a_running_container_change_at_once,
    a_stopped_container_is_changed_for_its_next_start,
    a_paused_container_is_changed,
    one_failed_update_does_not_stop_the_others,
    impossible_limits_are_refused_without_effect,
    limits_that_the_kernel_refuses_are_undone,
    updates_in_the_same_moment_all_count,
    a_container_that_ends_meanwhile_is_updated_all_the_same,
    a_policy_is_changed_while_it_runs_and_while_it_waits,
    dies_updating,
);

const MB: i64 = 1 << 20;

/// A limit as the container's cgroup has it.
fn held(node: &Node, id: &str, (controller, v1, v2): (&str, &str, &str)) -> String {
    let path = cgroup::file(controller, &format!("{}/{id}", node.cgroup_parent()), v1, v2);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

const MEMORY: (&str, &str, &str) = ("memory", "memory.limit_in_bytes", "memory.max");
const PIDS: (&str, &str, &str) = ("pids", "pids.max", "pids.max");
const CPUS: (&str, &str, &str) = ("cpuset", "cpuset.cpus", "cpuset.cpus");

#[track_caller]
fn assert_limits(node: &Node, id: &str, memory: i64, pids: i64) {
    let config = node.inspect(id)["HostConfig"].take();
    assert_eq!((config["Memory"].as_i64(), config["PidsLimit"].as_i64()), (Some(memory), Some(pids)), "{config}");
    assert_eq!(held(node, id, MEMORY), memory.to_string());
    let held = held(node, id, PIDS);
    // More than a kernel can have is as good.
    assert!(if pids == 0 { ["max", "4194304"].contains(&held.as_str()) } else { held == pids.to_string() }, "{held}");
}

/// Only `definition.json` is left of definitions.
#[track_caller]
fn assert_settled(node: &Node, id: &str) {
    let names = fs::read_dir(node.bundle(id)).expect("the bundle is there").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let of_definitions: Vec<_> = names.iter().filter(|name| name.starts_with("definition")).collect();
    assert_eq!(of_definitions, ["definition.json"]);
}

fn limits_of_a_running_container_change_at_once(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "-m", "32m"], &["sleep", "100000"]);
    let process = node.process_of("x");
    assert_eq!(node.ok(&["update", "-m", "64m", "--memory-swap", "256m", "--pids-limit", "50", "x"]), "x");
    assert_limits(&node, &id, 64 * MB, 50);
    assert_eq!(node.process_of("x"), process);
    // In both directions of memory against memory and swap.
    node.ok(&["update", "-m", "512m", "--memory-swap", "1g", "x"]);
    assert_limits(&node, &id, 512 * MB, 50);
    node.ok(&["update", "-m", "16m", "--memory-swap", "16m", "--cpuset-cpus", "0", "--cpus", "0.5", "x"]);
    assert_limits(&node, &id, 16 * MB, 50);
    assert_eq!(held(&node, &id, CPUS), "0");
    let quota = held(&node, &id, ("cpu", "cpu.cfs_quota_us", "cpu.max"));
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    node.ok(&["update", "--cpu-shares", "2048", "--pids-limit", "-1", "--memory-swap=-1", "x"]);
    assert_limits(&node, &id, 16 * MB, 0);
    let shares = held(&node, &id, ("cpu", "cpu.shares", "cpu.weight"));
    assert!(["2048", "79"].contains(&shares.as_str()), "{shares}");
    assert_settled(&node, &id);
    let story = node.story(&id);
    assert_eq!(story.iter().filter(|name| *name == "Updated").count(), 4, "{story:?}");
    node.restart();
    node.verified();
    assert_limits(&node, &id, 16 * MB, 0);
    node.ok(&["restart", "-t", "0", "x"]);
    assert_limits(&node, &id, 16 * MB, 0);
    let config = node.inspect("x")["HostConfig"].take();
    assert_eq!(config["MemorySwap"].as_i64(), Some(-1));
    assert_eq!((config["NanoCpus"].as_i64(), config["CpuShares"].as_i64()), (Some(500_000_000), Some(2048)));
    // A request for limits that are set already: no event.
    let seq = node.seq();
    node.ok(&["update", "-m", "16m", "x"]);
    assert_eq!(node.seq(), seq);
    node.assert_clean_end();
}

fn a_stopped_container_is_changed_for_its_next_start(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.create(&["--name", "x"], &["sleep", "100000"]);
    node.ok(&["update", "-m", "24m", "--pids-limit=10", "x"]);
    node.restart();
    node.verified();
    node.ok(&["update", "--pids-limit=11", "x"]);
    node.ok(&["start", "x"]);
    assert_limits(&node, &id, 24 * MB, 11);
    assert_eq!(node.inspect("x")["HostConfig"]["MemorySwap"].as_i64(), Some(48 * MB));
    assert_settled(&node, &id);
    node.assert_clean_end();
}

fn a_paused_container_is_changed(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "-m", "32m"], &["sleep", "100000"]);
    node.ok(&["pause", "x"]);
    node.ok(&["update", "-m", "40m", "--pids-limit=12", "x"]);
    assert_limits(&node, &id, 40 * MB, 12);
    assert_eq!(node.status_of("x"), "paused");
    node.ok(&["unpause", "x"]);
    assert_eq!(node.status_of("x"), "running");
    node.assert_clean_end();
}

fn one_failed_update_does_not_stop_the_others(runtime: Runtime) {
    let node = Node::start(runtime);
    let ids: Vec<String> =
        ["a", "b"].iter().map(|name| node.run_detached(&["--name", name], &["sleep", "100000"])).collect();
    let output = node.isula(&["update", "--pids-limit=30", "a", "nobody", "b"]);
    assert_eq!((output.code(), output.text()), (1, "a\nb".to_owned()));
    assert!(output.stderr.contains("No such container:nobody"), "{}", output.stderr);
    ids.iter().for_each(|id| assert_eq!(held(&node, id, PIDS), "30"));
    node.assert_clean_end();
}

fn impossible_limits_are_refused_without_effect(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "-m", "32m", "--cpus", "1"], &["sleep", "100000"]);
    let before = node.inspect("x")["HostConfig"].take();
    let seq = node.seq();
    for (flags, says) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 4MB"),
        (&["-m", "100m"], "already set memoryswap limit"),
        (&["--memory-swap", "8m"], "memoryswap limit should be larger"),
        (&["--memory-reservation", "64m"], "larger than memory reservation"),
        (&["--cpu-quota", "50000"], "Conflicting options: --cpus"),
        (&["--cpuset-cpus", "a"], "Invalid value a for cpuset cpus"),
        (&["--kernel-memory", "1m"], "Minimum kernel memory limit allowed is 4MB"),
    ] {
        let complaint = node.isula(&[&["update"], flags, &["x"]].concat()).refused(1);
        assert!(complaint.contains(says), "{flags:?}: {complaint}");
    }
    for flags in [&["--restart=sometimes", "x"][..], &["--blkio-weight=5", "x"], &["x"]] {
        node.isula(&[&["update"], flags].concat()).refused(125);
    }
    assert_eq!((node.inspect("x")["HostConfig"].take(), node.seq()), (before, seq));
    let output = node.isula(&["update", "--kernel-memory", "64m", "x"]);
    assert!(output.code() == 0 && output.stderr.contains("kernel memory"), "{}", output.stderr);
    assert_settled(&node, &id);
    let words = node.words("run", &["-d", "--name", "gone", "--rm"], &["sleep", "100000"]);
    node.ok(&words);
    let complaint = node.isula(&["update", "--restart=always", "gone"]).refused(1);
    assert!(complaint.contains("--restart and --rm"), "{complaint}");
    node.assert_clean_end();
}

fn limits_that_the_kernel_refuses_are_undone(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "-m", "32m", "--pids-limit=20"], &["sleep", "100000"]);
    // Processors that this machine does not have.
    let complaint = node.isula(&["update", "-m", "48m", "--pids-limit=30", "--cpuset-cpus=4090", "x"]).refused(1);
    assert!(complaint.contains("Cannot update container"), "{complaint}");
    assert_limits(&node, &id, 32 * MB, 20);
    assert_settled(&node, &id);
    assert_eq!(node.story(&id).last().map(String::as_str), Some("UpdateFailed"));
    node.ok(&["update", "-m", "48m", "x"]);
    node.restart();
    node.verified();
    assert_limits(&node, &id, 48 * MB, 20);
    node.assert_clean_end();
}

fn updates_in_the_same_moment_all_count(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "--cpu-shares=100"], &["sleep", "100000"]);
    let asked = [
        &["update", "--pids-limit=33", "x"][..],
        &["update", "-m", "33m", "x"],
        &["update", "--cpu-shares=333", "x"],
        &["update", "--restart=always", "x"],
        &["update", "--cpuset-cpus=0", "x"],
    ];
    let callers: Vec<_> = asked.iter().map(|words| node.spawn(words)).collect();
    for caller in callers {
        command::finish(caller, deadline::PATIENCE).expect("it ends").ok();
    }
    assert_limits(&node, &id, 33 * MB, 33);
    let config = node.inspect("x")["HostConfig"].take();
    assert_eq!((config["CpuShares"].as_i64(), config["RestartPolicy"]["Name"].as_str()), (Some(333), Some("always")));
    assert_eq!(held(&node, &id, CPUS), "0");
    assert_settled(&node, &id);
    node.assert_clean_end();
}

fn a_container_that_ends_meanwhile_is_updated_all_the_same(runtime: Runtime) {
    let node = Node::start(runtime);
    // Killed before the update is asked for, while it is, when it is recorded and when it is done.
    let moments = [None, Some(""), Some("UpdateRequested"), Some("Updated")];
    for moment in moments.iter().chain(&moments) {
        let id = node.run_detached(&["--name", "x"], &["sleep", "100000"]);
        let process = node.process_of("x");
        let seq = node.seq();
        if moment.is_none() {
            process.signal(Signal::KILL);
        }
        let caller = node.spawn(&["update", "--pids-limit=44", "x"]);
        if let Some(event) = moment.filter(|event| !event.is_empty()) {
            node.event_named(seq, &id, event);
        }
        process.signal(Signal::KILL);
        command::finish(caller, deadline::PATIENCE).expect("it ends").ok();
        node.wait("x");
        assert_eq!(node.inspect("x")["HostConfig"]["PidsLimit"].as_i64(), Some(44));
        node.ok(&["start", "x"]);
        assert_eq!(held(&node, &id, PIDS), "44");
        node.ok(&["rm", "-f", "x"]);
    }
    node.assert_clean_end();
}

fn a_policy_is_changed_while_it_runs_and_while_it_waits(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x"], &["sleep", "100000"]);
    let process = node.process_of("x");
    node.ok(&["update", "--restart=on-failure:3", "x"]);
    assert_eq!(node.inspect("x")["HostConfig"]["RestartPolicy"]["MaximumRetryCount"].as_i64(), Some(3));
    assert_eq!(node.process_of("x"), process);
    let seq = node.seq();
    process.signal(Signal::KILL);
    node.event_named(seq, &id, "Started");

    node.run_detached(&["--name", "y", "--restart=always"], &["false"]);
    let waits = || node.inspect("y")["RestartCount"].as_i64() >= Some(4) && node.status_of("y") == "restarting";
    deadline::until("it waits", waits);
    node.ok(&["update", "--restart=no", "y"]);
    deadline::until("the wait comes to nothing", || node.status_of("y") == "exited");
    node.assert_clean_end();
}

/// Between any two steps of an update.
pub(crate) const POINTS: [&str; 4] = ["update-before-intent", "update-after-intent", "update-applied", "update-done"];

fn dies_updating(runtime: Runtime) {
    let mut node = Node::start(runtime);
    for paused in [false, true] {
        for point in POINTS {
            let id = node.run_detached(&["--name", "x", "-m", "32m", "--pids-limit=20"], &["sleep", "100000"]);
            let process = node.process_of("x");
            if paused {
                node.ok(&["pause", "x"]);
            }
            node.kill9();
            node.launch_with(&[("ISULAD_FAILPOINT", point)]);
            let caller = node.spawn(&["update", "-m", "48m", "--pids-limit=30", "x"]);
            node.died();
            let answer = command::finish(caller, deadline::PATIENCE).expect("the caller does not hang");
            node.launch();
            node.verified();
            // A recorded intent is finished; an update without one has never happened.
            let updated = point != "update-before-intent";
            assert!(updated || answer.code() != 0);
            let (memory, pids) = if updated { (48 * MB, 30) } else { (32 * MB, 20) };
            let has_limit = || node.inspect("x")["HostConfig"]["Memory"].as_i64() == Some(memory);
            deadline::until("the update is finished or undone", has_limit);
            deadline::until("it is settled", || {
                node.story(&id).iter().all(|name| name != "UpdateRequested") || {
                    node.story(&id).last().is_some_and(|name| name == "Updated")
                }
            });
            assert_limits(&node, &id, memory, pids);
            assert_eq!((node.process_of("x"), node.status_of("x") == "paused"), (process, paused), "{point}");
            node.restart();
            node.verified();
            assert_settled(&node, &id);
            assert_limits(&node, &id, memory, pids);
            node.ok(&["rm", "-f", "x"]);
        }
    }
    node.assert_clean_end();
}
