//! Containers' use of resources: `top` and `stats`, against the kernel's own files and against processes that the tests
//! started.

use std::io::{BufRead, BufReader};

use cri_api::isula::v1::{ContainerStats, StatsRequest, TopRequest};
use integration::deadline;
use integration::{Node, Runtime};

on_each_runtime!(processes_are_the_containers_and_no_others, counters_are_those_of_the_cgroup);

fn stats(node: &Node, containers: &[&str], all: bool) -> Vec<ContainerStats> {
    let containers = containers.iter().map(|name| (*name).to_owned()).collect();
    let request = StatsRequest { containers, all, once: true, interval_ms: 0 };
    let asking = async { node.usage().stats(request).await?.into_inner().message().await };
    node.block_on(asking).expect("stats is served").expect("there is one round").containers
}

fn processes_are_the_containers_and_no_others(runtime: Runtime) {
    let node = Node::start(runtime);
    node.run_detached(&["--name", "one"], &["sh", "-c", "sleep 1111 & setsid sleep 2222 & exec sleep 3333"]);
    node.sleeper("other");
    deadline::until("all three sleep", || node.ok(&["top", "one"]).lines().count() == 4);
    let listed = node.ok(&["top", "one"]);
    let titles: Vec<&str> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    for command in ["sleep 1111", "sleep 2222", "sleep 3333"] {
        assert_eq!(listed.matches(command).count(), 1, "{listed}");
    }
    let pid = node.process_of("one").pid.to_string();
    let listed = node.ok(&["top", "one", "-o", "pid,args"]);
    assert!(listed.lines().any(|line| line.split_whitespace().eq([pid.as_str(), "sleep", "3333"])), "{listed}");
    node.ok(&["pause", "one"]);
    assert_eq!(node.ok(&["top", "one"]).lines().count(), 4, "a paused container has its processes");
    node.ok(&["unpause", "one"]);
    for (options, why) in [
        (&["-o", "args"][..], "no column `PID`"),
        (&["--no-such"], "ps has failed"),
        (&["-o", "pid", ";", "reboot"], "ps has failed"),
    ] {
        let refusal = node.isula(&[&["top", "one"], options].concat()).refused(1);
        assert!(refusal.contains(why), "{options:?}: {refusal}");
    }
    node.assert_clean_end();
}

#[test]
fn a_stopped_container_has_no_processes() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "created"], &["true"]);
    node.run(&["--name", "ended"], &["true"]);
    for name in ["created", "ended"] {
        let refusal = node.isula(&["top", name]).refused(1);
        assert_eq!(refusal, format!("Error response from daemon: Container {name} is not running"));
    }
    let refusal = node.isula(&["top", "nobody"]).refused(1);
    assert_eq!(refusal, "Error response from daemon: No such container:nobody");
    let absurd = TopRequest { container: "created".into(), ps_options: vec!["x".into(); 1000] };
    assert_eq!(
        node.block_on(async { node.usage().top(absurd).await }).unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
    node.assert_clean_end();
}

/// `ps` has a deadline, and is ended with it.
#[test]
fn a_ps_that_hangs_is_given_up() {
    let mut node = Node::builder(Runtime::Runc).build();
    let bin = node.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let fake = bin.join("ps");
    std::fs::write(&fake, "#!/bin/sh\nexec sleep 100000\n").unwrap();
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    node.launch_with(&[("PATH", &path)]);
    node.sleeper("one");
    let before = node.settled_descriptors();
    let refusal = node.isula(&["top", "one"]).refused(1);
    assert!(refusal.contains("ps did not end within"), "{refusal}");
    deadline::until("the hung ps is gone", || node.daemon().descriptors() <= before);
    node.assert_clean_end();
}

fn counters_are_those_of_the_cgroup(runtime: Runtime) {
    let node = Node::start(runtime);
    let busy = ["sh", "-c", "sleep 1000 & while :; do :; done"];
    let id = node.run_detached(&["--name", "busy", "-m", "64m", "--pids-limit", "50"], &busy);
    node.sleeper("idle");
    node.create(&["--name", "created"], &["true"]);
    deadline::until("both processes are counted", || stats(&node, &["busy"], false)[0].pids == Some(2));
    let of = |all: &[ContainerStats], name: &str| all.iter().find(|one| one.name == name).unwrap().clone();
    let share = |one: &ContainerStats| one.cpu_percent.unwrap();
    let mut all = vec![];
    // The machine may be busy with other things: the difference counts, in a while in which the busy one has its turn.
    deadline::until("the busy one differs from the idle one", || {
        all = stats(&node, &[], false);
        let (busy, idle) = (of(&all, "busy"), of(&all, "idle"));
        share(&busy) > 5.0 && share(&busy) > 3.0 * share(&idle) && busy.cpu_usage > idle.cpu_usage
    });
    assert_eq!(all.len(), 2, "only those that run: {all:?}");
    let (busy, idle) = (of(&all, "busy"), of(&all, "idle"));
    assert_eq!((busy.id.as_str(), busy.state.as_str()), (id.as_str(), "running"));
    assert_eq!((busy.memory_limit, busy.pids, busy.pids_limit), (Some(64 << 20), Some(2), Some(50)));
    assert!(idle.memory_limit.unwrap() > 64 << 20, "without a limit it is the machine's");
    assert!(busy.memory_usage <= busy.memory_total);
    assert!(busy.net_received.is_some(), "it has a network of its own");
    let all = stats(&node, &[], true);
    let created = all.iter().find(|one| one.name == "created").unwrap();
    assert_eq!((all.len(), created.state.as_str(), created.cpu_usage, created.pids), (3, "inited", None, None));
    node.assert_clean_end();
}

#[test]
fn a_stream_goes_on_when_its_containers_come_and_go() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("first");
    let mut watching = node.spawn(&["stats"]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = node.inspect("first")["Id"].as_str().unwrap()[..12].to_owned();
    assert!(lines.next().unwrap().starts_with("CONTAINER "));
    assert!(lines.next().unwrap().starts_with(&first));
    let second = node.sleeper("second")[..12].to_owned();
    assert!(lines.by_ref().take(60).any(|line| line.starts_with(&second)), "one that starts appears");
    node.ok(&["rm", "-f", "second"]);
    let mut titles = 0;
    let gone = lines.by_ref().take(60).any(|line| {
        titles = if line.starts_with("CONTAINER") { titles + 1 } else { titles };
        let seen = line.starts_with(&second);
        titles = if seen { 0 } else { titles };
        titles >= 3
    });
    assert!(gone, "one that is removed disappears, and the rounds go on");
    watching.kill().unwrap();
    watching.wait().unwrap();
    // A named container that ends is reported.
    let mut watching = node.spawn(&["stats", "first"]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().nth(1).unwrap().starts_with(&first));
    node.ok(&["kill", "first"]);
    assert!(lines.by_ref().take(60).any(|line| line.starts_with(&first) && line.contains("--")));
    let kept = node.create(&["--name", "kept"], &["true"]);
    node.ok(&["rm", "first"]);
    // And when all that were named are gone, that is the end.
    assert!(lines.by_ref().take(60).any(|line| line.starts_with("CONTAINER")));
    lines.by_ref().for_each(drop);
    assert!(watching.wait().unwrap().success());
    node.ok(&["rm", &kept]);
    node.create(&["--name", "first"], &["true"]);
    let refusal = node.isula(&["stats", "--no-stream", "first", "nobody"]).refused(1);
    assert_eq!(refusal, "Error response from daemon: No such container:nobody");
    assert!(node.ok(&["stats", "--no-stream", "--original", "first"]).contains("CPU_USAGE"));
    node.assert_clean_end();
}

/// Clients that vanish leave nothing running in the daemon.
#[test]
fn a_client_that_goes_away_ends_its_rounds() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("one");
    stats(&node, &[], false);
    let daemon = node.daemon();
    let before = node.settled_descriptors();
    for _ in 0..20 {
        let mut watching = node.spawn(&["stats"]);
        BufReader::new(watching.stdout.take().unwrap()).lines().nth(1);
        watching.kill().unwrap();
        watching.wait().unwrap();
    }
    deadline::until("the daemon has no more descriptors than before", || daemon.descriptors() <= before);
    node.assert_clean_end();
}
