//! Restart policies: the containers that they start again and those that they do not, with a daemon that dies or leaves
//! in between.

use std::time::Duration;

use integration::process::{Process, Signal};
use integration::{Node, Runtime, command, deadline};
use nix::mount::{MntFlags, umount2};

on_each_runtime!(
    a_failing_container_is_started_again_until_it_is_stopped,
    on_failure_has_an_end,
    on_reboot_waits_for_its_status,
    a_manual_stop_holds_until_the_policy_restarts,
    a_waiting_container_is_removed_by_force_alone,
    an_attached_client_ends_with_the_first_exit,
    the_wait_goes_on_without_a_daemon,
    containers_run_again_after_a_host_restart,
    a_container_that_goes_with_its_end_does_so_without_a_daemon,
    dies_restarting,
);

fn restarts(node: &Node, name: &str) -> i64 {
    node.inspect(name)["RestartCount"].as_i64().expect("a count is a number")
}

fn a_failing_container_is_started_again_until_it_is_stopped(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "--restart=always"], &["sh", "-c", "exit 3"]);
    let policy = node.inspect("x")["HostConfig"]["RestartPolicy"].take();
    assert_eq!((policy["Name"].as_str(), policy["MaximumRetryCount"].as_i64()), (Some("always"), Some(0)));
    // By then it waits for seconds.
    deadline::until("it was started six times", || restarts(&node, "x") >= 6);
    deadline::until("it waits", || node.status_of("x") == "restarting");
    assert!(
        node.ok(&["ps", "--filter", "status=restarting", "--format", "{{.Status}}"]).starts_with("Restarting (3) ")
    );
    assert!(node.ok(&["ps", "-q"]).starts_with(&id[..12]), "it is about to run again, so it is listed");
    let state = node.state_of("x");
    assert_eq!((state["Restarting"].as_bool(), state["ExitCode"].as_i64()), (Some(true), Some(3)), "{state}");
    assert_eq!(node.wait("x"), Some(3));

    let seq = node.seq();
    node.ok(&["stop", "x"]);
    let story = node.story(&id);
    let cancelled = story.last().is_some_and(|name| name == "RestartCancelled") || node.seq() > seq;
    assert!(cancelled, "{story:?}");
    assert_eq!(node.status_of("x"), "exited");
    assert!(node.event_within(Duration::from_secs(3), node.seq(), |event| event.id == id).is_err(), "it stays so");
    // A user's start begins anew.
    node.ok(&["start", "x"]);
    deadline::until("it was started again", || (1..3).contains(&restarts(&node, "x")));
    node.remove_all();
    node.assert_clean_end();
}

fn on_failure_has_an_end(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["--name", "x", "--restart=on-failure:2"], &["sh", "-c", "exit 7"]);
    deadline::until("the policy gives up", || restarts(&node, "x") == 2 && node.status_of("x") == "exited");
    assert_eq!(node.state_of("x")["ExitCode"], 7);
    let story = node.story(&id);
    assert_eq!(story.iter().filter(|name| *name == "Started").count(), 3, "{story:?}");
    assert_eq!(node.ok(&["ps", "-a", "--format", "{{.RestartCount}}"]), "2");

    node.run_detached(&["--name", "fine", "--restart=on-failure"], &["true"]);
    deadline::until("a success ends it", || node.status_of("fine") == "exited");
    assert_eq!(restarts(&node, "fine"), 0);
    // A container that cannot be started at all is reported to the client, once.
    let words = node.words("run", &["-d", "--name", "never", "--restart=always"], &["no-such-command"]);
    assert_eq!(node.isula(&words).code(), 127);
    assert_eq!(node.status_of("never"), "exited");
    node.assert_clean_end();
}

fn on_reboot_waits_for_its_status(runtime: Runtime) {
    let node = Node::start(runtime);
    let once = |code| format!("test -e /once && exec sleep 100000; touch /once; exit {code}");
    node.run_detached(&["--name", "reboot", "--restart=on-reboot"], &["sh", "-c", &once(129)]);
    node.run_detached(&["--name", "failure", "--restart=on-reboot"], &["sh", "-c", &once(1)]);
    deadline::until("it is up again", || node.status_of("reboot") == "running" && restarts(&node, "reboot") == 1);
    assert_eq!((node.status_of("failure"), restarts(&node, "failure")), ("exited".to_owned(), 0));
    node.assert_clean_end();
}

fn a_manual_stop_holds_until_the_policy_restarts(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let script = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"];
    for (name, policy) in [("always", "--restart=always"), ("unless", "--restart=unless-stopped")] {
        let id = node.run_detached(&["--name", name, policy], &script);
        // Killed from outside: that is not a stop by a user.
        let seq = node.seq();
        node.process_of(name).signal(Signal::KILL);
        node.event_named(seq, &id, "Started");
        assert_eq!(restarts(&node, name), 1);
        let seq = node.seq();
        node.ok(&["stop", "-t", "0", name]);
        assert!(node.event_within(Duration::from_secs(1), seq, |event| event.name == "RestartScheduled").is_err());
        assert_eq!(node.status_of(name), "exited");
    }
    // Never started: the daemon does not do it either.
    node.create(&["--name", "created", "--restart=always"], &script);
    node.restart();
    node.verified();
    deadline::until("`always` is started with the daemon", || node.status_of("always") == "running");
    assert_eq!((node.status_of("unless"), node.status_of("created")), ("exited".to_owned(), "inited".to_owned()));
    node.assert_clean_end();
}

fn a_waiting_container_is_removed_by_force_alone(runtime: Runtime) {
    let node = Node::start(runtime);
    node.run_detached(&["--name", "x", "--restart=always"], &["false"]);
    deadline::until("it waits for a while", || restarts(&node, "x") >= 5 && node.status_of("x") == "restarting");
    node.isula(&["rm", "x"]).refused(1);
    node.ok(&["rm", "-f", "x"]);
    let words = node.words("create", &["--rm", "--restart=always"], &["true"]);
    assert_eq!(node.isula(&words).refused(125), "Conflicting options: --restart and --rm");
    node.assert_clean_end();
}

fn an_attached_client_ends_with_the_first_exit(runtime: Runtime) {
    let node = Node::start(runtime);
    let output = node.run(&["--name", "x", "--restart=always"], &["sh", "-c", "echo once; exit 5"]);
    assert_eq!((output.code(), output.text()), (5, "once".to_owned()));
    deadline::until("it goes on without a client", || restarts(&node, "x") >= 2);
    node.ok(&["stop", "x"]);
    assert_eq!(node.isula(&["start", "-a", "x"]).code(), 5);
    node.assert_clean_end();
}

fn the_wait_goes_on_without_a_daemon(runtime: Runtime) {
    let mut node = Node::start(runtime);
    // Waits of 0.1, 0.2, … 3.2 seconds: the sixth is long enough to look at.
    let id = node.run_detached(&["--name", "x", "--restart=always"], &["false"]);
    let waiting = |node: &Node, count| {
        deadline::until("it waits for seconds", || restarts(node, "x") >= count && node.status_of("x") == "restarting");
    };
    waiting(&node, 5);
    let due = node.events().into_iter().rfind(|event| event.name == "RestartScheduled").expect("it waits");
    node.kill9();
    node.launch();
    let started = node.event_named(due.seq, &id, "StartRequested");
    let passed = Duration::from_nanos((started.time - due.time).unsigned_abs());
    // Not sooner; how much later is up to the machine.
    assert!(passed >= Duration::from_secs(3), "due in 3.2 s, begun after {passed:?}");
    assert_eq!(started.actor, "restart-policy");

    waiting(&node, 6);
    let scheduled = node.seq();
    assert!(node.terminate().success(), "a daemon that is asked to leave does not wait for it");
    // The daemon stays away beyond the moment: then it is due at once.
    std::thread::sleep(Duration::from_secs(7));
    node.launch();
    node.event_named(scheduled, &id, "Exited");
    node.ok(&["stop", "x"]);
    node.restart();
    node.verified();
    node.assert_clean_end();
}

/// Ends all that runs, as a restart of the host would.
fn power_cut(node: &mut Node, names: &[&str]) {
    let processes: Vec<Process> = names.iter().flat_map(|name| [node.shim_of(name), node.process_of(name)]).collect();
    node.kill9();
    processes.iter().for_each(|process| process.signal(Signal::KILL));
    integration::cgroup::clear(node.cgroup_parent());
    for mount in node.mounts() {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
}

fn containers_run_again_after_a_host_restart(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let policies = ["no", "always", "unless-stopped", "on-failure"];
    for policy in policies {
        node.run_detached(&["--name", policy, "--restart", policy], &["sleep", "100000"]);
    }
    power_cut(&mut node, &policies);
    node.launch_with(&[("ISULAD_BOOT_ID", "0123456789abcdef0123456789abcdef")]);
    node.verified();
    for policy in &policies[1..] {
        deadline::until("it is up again", || node.status_of(policy) == "running");
        assert!(node.process_of(policy).alive());
    }
    let state = node.state_of("no");
    assert_eq!(state["Status"], "exited");
    assert_eq!(state["ExitCause"], "the host was restarted while the container ran");
    node.assert_clean_end();
}

fn a_container_that_goes_with_its_end_does_so_without_a_daemon(runtime: Runtime) {
    let mut node = Node::start(runtime);
    for name in ["before", "meanwhile"] {
        node.run_detached(&["--name", name, "--rm"], &["sleep", "100000"]);
    }
    let meanwhile = node.process_of("meanwhile");
    node.kill9();
    meanwhile.kill();
    node.launch();
    deadline::until("it is gone", || node.ok(&["ps", "-aq"]).lines().count() == 1);
    node.ok(&["stop", "-t", "0", "before"]);
    deadline::until("it is gone", || node.ok(&["ps", "-aq"]).is_empty());
    node.assert_clean_end();
}

/// Where the daemon dies between an end and the start that follows it, and how the container is reached by then.
const POINTS: [&str; 8] = [
    "exit-recorded",
    "restart-scheduled",
    "restart-due",
    "start-after-intent:2",
    "start-mounted:2",
    "start-shim-spawned:2",
    "start-ready:2",
    "start-done:2",
];

/// The failpoints that this file tries.
pub(crate) fn points() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter().filter(|point| !point.contains(':'))
}

fn dies_restarting(runtime: Runtime) {
    let mut node = Node::start(runtime);
    for point in POINTS {
        let script = "test -e /once && exec sleep 100000; touch /once; exit 1";
        let id = node.create(&["--name", "x", "--restart=on-failure:5"], &["sh", "-c", script]);
        node.kill9();
        node.launch_with(&[("ISULAD_FAILPOINT", point)]);
        let caller = node.spawn(&["start", "x"]);
        node.died();
        command::finish(caller, deadline::PATIENCE).expect("the caller does not hang");
        node.launch();
        node.verified();
        deadline::until("it is up again", || node.status_of("x") == "running");
        // A start that was cut short is one of the attempts.
        assert!((1..=2).contains(&restarts(&node, "x")), "{point}: {:?}", node.story(&id));
        let process = node.process_of("x");
        node.restart();
        node.verified();
        assert_eq!(node.process_of("x"), process, "{point}: it was started once");
        node.ok(&["rm", "-f", "x"]);
        node.assert_nothing_left();
    }
    node.assert_clean_end();
}
