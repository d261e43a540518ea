//! The host loses its power at each failpoint of creating, starting, stopping, executing, removing, attaching to
//! networks and making volumes, and at once after an answer. Acknowledged operations are kept, interrupted ones are
//! done or undone, and foreign processes and files are left alone: a bystander older than the daemon lives on through
//! all of it.
//!
//! Each case is tried on both runtimes; on the one the state directory goes with the boot, on the other it is kept.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use integration::disk::{Disk, in_own_machine};
use integration::{Node, Process, Runtime, binaries, command, deadline};
use serde_json::json;

on_each_runtime!(starting, stopping_and_removing, executing, in_networks, with_volumes, after_an_answer);

/// The acknowledged state before the start of the daemon that will die.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    Created,
    Failing,
    Running,
    Exited,
    /// In the network `net`.
    InNetwork,
    RunningInNetwork,
    /// Nothing gives its network back: the plugins are gone.
    WithoutPlugins,
    /// Of an image, with an empty volume over a directory that has files in the image.
    WithVolume,
    /// With a volume of its own.
    OwnVolume,
    /// The volume `v`.
    Volume,
    /// The network `other`.
    Network,
}

/// The container once the next daemon has compared it with the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Absent,
    Inited,
    Exited(i64),
    /// The host went down, so that the exit code is unknown.
    Unknown,
}

use End::{Absent, Exited, Inited, Unknown};

struct Case {
    /// `None`: the cut comes after the answer.
    point: Option<&'static str>,
    given: Given,
    words: &'static [&'static str],
    /// The first is the one that an answer of success has promised.
    then: &'static [End],
}

const fn case(point: &'static str, given: Given, words: &'static [&'static str], then: &'static [End]) -> Case {
    Case { point: Some(point), given, words, then }
}

const fn answered(given: Given, words: &'static [&'static str], then: &'static [End]) -> Case {
    Case { point: None, given, words, then }
}

const CREATE: &[&str] = &["create"];
const RUN: &[&str] = &["run", "-d"];
const START: &[&str] = &["start", "x"];
const STOP: &[&str] = &["stop", "-t", "30", "x"];
const KILL: &[&str] = &["stop", "-t", "0", "x"];
const REMOVE: &[&str] = &["rm", "x"];
const EXEC: &[&str] = &["exec", "x", "true"];
const EXEC_DETACHED: &[&str] = &["exec", "-d", "x", "sleep", "100000"];

/// The start is not recorded as done, so it is undone; or it is.
const UNDONE: &[End] = &[Unknown, Exited(125)];

const STARTING: &[Case] = &[
    case("create-before-files", Given::Nothing, CREATE, &[Inited, Absent]),
    case("create-before-intent", Given::Nothing, RUN, &[Unknown, Absent]),
    case("create-done", Given::Nothing, CREATE, &[Inited]),
    case("start-after-intent", Given::Created, START, UNDONE),
    case("start-after-intent", Given::Nothing, RUN, UNDONE),
    case("start-mounted", Given::Created, START, UNDONE),
    case("start-spec-written", Given::Created, START, UNDONE),
    case("start-shim-spawned", Given::Nothing, RUN, UNDONE),
    case("start-ready", Given::Created, START, UNDONE),
    case("start-undone", Given::Failing, START, &[Exited(125)]),
    case("start-done", Given::Exited, START, &[Unknown]),
];

const ENDING: &[Case] = &[
    case("stop-after-intent", Given::Running, STOP, &[Exited(7), Unknown]),
    case("stop-signalled", Given::Running, STOP, &[Exited(7), Unknown]),
    case("stop-killed", Given::Running, KILL, &[Exited(137), Unknown]),
    // The record reaches the disk before any client gets the end.
    case("exit-seen", Given::Running, STOP, &[Exited(7)]),
    case("exit-recorded", Given::Running, STOP, &[Exited(7)]),
    case("release-unmounted", Given::Running, STOP, &[Exited(7)]),
    case("release-done", Given::Running, KILL, &[Exited(137)]),
    case("remove-after-intent", Given::Exited, REMOVE, &[Absent]),
    case("remove-released", Given::Created, REMOVE, &[Absent]),
    case("remove-bundle-gone", Given::Exited, REMOVE, &[Absent]),
    case("remove-done", Given::Running, &["rm", "-f", "x"], &[Absent]),
];

const EXECUTING: &[Case] = &[
    case("exec-before-record", Given::Running, EXEC, &[Unknown]),
    case("exec-recorded", Given::Running, EXEC, &[Unknown]),
    case("exec-told", Given::Running, EXEC_DETACHED, &[Unknown]),
    case("exec-ready", Given::Running, EXEC_DETACHED, &[Unknown]),
    case("exec-exited", Given::Running, EXEC, &[Unknown]),
    case("exec-end-recorded", Given::Running, EXEC, &[Unknown]),
    case("exec-done", Given::Running, EXEC, &[Unknown]),
];

const NETWORKS: &[Case] = &[
    case("net-recorded", Given::InNetwork, START, UNDONE),
    case("net-pinned", Given::InNetwork, START, UNDONE),
    case("net-plugin-added", Given::InNetwork, START, UNDONE),
    case("net-added", Given::InNetwork, START, UNDONE),
    case("net-attached", Given::InNetwork, START, UNDONE),
    case("net-deleted", Given::RunningInNetwork, KILL, &[Exited(137)]),
    case("net-unpinned", Given::RunningInNetwork, KILL, &[Exited(137)]),
    case("net-detached", Given::RunningInNetwork, KILL, &[Exited(137)]),
    case("net-put-off", Given::WithoutPlugins, &["rm", "-f", "x"], &[Absent]),
    case("net-bridge-removed", Given::Network, &["network", "rm", "other"], &[Absent]),
];

const VOLUMES: &[Case] = &[
    case("volume-create-before-record", Given::Nothing, &["volume", "create", "v"], &[Absent]),
    case("volume-remove-after-intent", Given::Volume, &["volume", "rm", "v"], &[Absent]),
    case("volume-remove-deleted", Given::Volume, &["volume", "rm", "v"], &[Absent]),
    case("volume-copied", Given::WithVolume, START, UNDONE),
    case("volume-filled", Given::WithVolume, START, UNDONE),
    case("remove-volumes-gone", Given::OwnVolume, &["rm", "-v", "x"], &[Absent]),
];

const ANSWERED: &[Case] = &[
    answered(Given::Nothing, CREATE, &[Inited]),
    answered(Given::Nothing, RUN, &[Unknown]),
    answered(Given::Created, START, &[Unknown]),
    answered(Given::Running, STOP, &[Exited(7)]),
    answered(Given::Running, &["restart", "-t", "0", "x"], &[Unknown]),
    answered(Given::Running, EXEC_DETACHED, &[Unknown]),
    answered(Given::Exited, REMOVE, &[Absent]),
    answered(Given::Running, &["rm", "-f", "x"], &[Absent]),
    answered(Given::InNetwork, START, &[Unknown]),
    answered(Given::WithVolume, START, &[Unknown]),
    answered(Given::Nothing, &["volume", "create", "v"], &[Absent]),
];

/// Failpoints that are tried here, by how their names begin.
const GROUPS: [&str; 9] = ["create-", "start-", "stop-", "exit-", "release-", "remove-", "exec-", "net-", "volume-"];

#[test]
fn every_failpoint_of_these_groups_has_a_case() {
    let listed = command::run(Command::new(binaries::path("isulad")).arg("--list-failpoints"), deadline::PATIENCE).ok();
    let is_wanted = |point: &&str| GROUPS.iter().any(|group| point.starts_with(group));
    let listed: BTreeSet<&str> = listed.lines().filter(is_wanted).collect();
    let all = [STARTING, ENDING, EXECUTING, NETWORKS, VOLUMES].into_iter().flatten();
    assert_eq!(all.filter_map(|case| case.point).collect::<BTreeSet<_>>(), listed);
}

fn starting(runtime: Runtime) {
    try_all("starting", runtime, STARTING);
}

fn stopping_and_removing(runtime: Runtime) {
    try_all("stopping_and_removing", runtime, ENDING);
}

fn executing(runtime: Runtime) {
    try_all("executing", runtime, EXECUTING);
}

fn in_networks(runtime: Runtime) {
    try_all("in_networks", runtime, NETWORKS);
}

fn with_volumes(runtime: Runtime) {
    try_all("with_volumes", runtime, VOLUMES);
}

fn after_an_answer(runtime: Runtime) {
    try_all("after_an_answer", runtime, ANSWERED);
}

fn try_all(test: &str, runtime: Runtime, cases: &[Case]) {
    in_own_machine(&format!("power_cut::{}::{test}", runtime.name()), || {
        let mut world = World::new(runtime);
        for (number, case) in cases.iter().enumerate() {
            // Each case with both fates of the state directory: one on each runtime.
            let kept = (number % 2 == 0) == (runtime == Runtime::Runc);
            let point = case.point.unwrap_or("an answer");
            eprintln!(
                "case {number}: {point} of `{}`, state {}",
                case.words.join(" "),
                if kept { "kept" } else { "gone" }
            );
            world.try_one(case, kept);
        }
    });
}

const SCRIPT: [&str; 3] = ["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"];

struct World {
    node: Node,
    disk: Disk,
    /// Older than every daemon, in the same pid namespace, and nothing to do with any.
    bystander: Child,
    /// How often the host was started.
    boots: u32,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
    }
}

/// No two boots have one.
fn boot_id(boots: u32) -> String {
    format!("{:032x}", boots + 1)
}

impl World {
    fn new(runtime: Runtime) -> Self {
        let bystander = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().expect("sleep runs");
        let mut node = Node::builder(runtime).build();
        // On the disk, as everything that is acknowledged.
        node.set("cni-conf-dir", json!(node.graph().join("cni")));
        let disk = Disk::under(&mut node);
        node.launch_with(&[("ISULAD_BOOT_ID", &boot_id(0))]);
        node.ok(&["network", "create", "net"]);
        let (root, archive) = (node.dir().join("root"), node.dir().join("image.tar"));
        integration::rootfs::make(&root);
        std::fs::create_dir(root.join("srv")).expect("the node's directory is ours");
        std::fs::write(root.join("srv/page"), "of the image").expect("the node's directory is ours");
        let (root, archive) = (root.to_str().expect("UTF-8"), archive.to_str().expect("UTF-8"));
        command::tool(&["tar", "-C", root, "-cf", archive, "."]);
        node.ok(&["import", archive, "image:1"]);
        Self { node, disk, bystander, boots: 0 }
    }

    fn prepare(&self, given: Given) {
        let node = &self.node;
        let create = |flags: &[&str], words: &[&str]| {
            node.create(&[&["--name", "x"], flags].concat(), words);
        };
        match given {
            Given::Nothing => {}
            Given::Created => create(&[], &SCRIPT),
            Given::Failing => create(&[], &["no-such-command"]),
            Given::Running | Given::Exited => create(&[], &SCRIPT),
            Given::InNetwork | Given::RunningInNetwork | Given::WithoutPlugins => create(&["--net", "net"], &SCRIPT),
            Given::WithVolume => {
                drop(node.ok(&["create", "--name", "x", "-v", "v:/srv", "image:1", "sleep", "100000"]))
            }
            Given::OwnVolume => drop(node.ok(&["create", "--name", "x", "-v", "/data", "image:1", "true"])),
            Given::Volume => drop(node.ok(&["volume", "create", "v"])),
            Given::Network => drop(node.ok(&["network", "create", "other"])),
        }
        if matches!(given, Given::Running | Given::Exited | Given::RunningInNetwork | Given::WithoutPlugins) {
            node.ok(&["start", "x"]);
            node.written("x", "ready");
        }
        if given == Given::Exited {
            node.ok(&["stop", "x"]);
        }
    }

    fn words(&self, case: &Case) -> Vec<String> {
        match case.words {
            [verb @ ("create" | "run"), flags @ ..] => {
                self.node.words(verb, &[flags, &["--name", "x"]].concat(), &SCRIPT)
            }
            words => words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn try_one(&mut self, case: &Case, kept: bool) {
        let what = format!("{} of `{}`", case.point.unwrap_or("an answer"), case.words.join(" "));
        self.prepare(case.given);
        let before = self.node.events();
        if case.given == Given::WithoutPlugins {
            self.node.set("cni-bin-dir", json!("/no/such/dir"));
        }
        if let Some(point) = case.point {
            self.node.kill9();
            self.node.launch_with(&[("ISULAD_BOOT_ID", &boot_id(self.boots)), ("ISULAD_FAILPOINT", point)]);
            self.node.verified();
        }
        let caller = self.node.spawn(&self.words(case));
        let answered = match case.point {
            Some(_) => {
                let status = self.node.died();
                assert_eq!(status.signal(), Some(9), "{what}: {status}");
                self.cut(kept);
                // A client that still waited for its answer has ended with everything else.
                command::finish(caller, deadline::PATIENCE).expect("it was killed").code() == 0
            }
            None => {
                let answer = command::finish(caller, deadline::PATIENCE).expect("it is answered");
                assert_eq!(answer.code(), 0, "{what}: {}", answer.stderr);
                self.cut(kept);
                true
            }
        };
        self.node.set("cni-bin-dir", json!("/usr/lib/cni"));
        self.node.launch_with(&[("ISULAD_BOOT_ID", &boot_id(self.boots))]);
        self.node.verified();

        let end = self.end();
        assert!(case.then.contains(&end), "{what}: the container is {end:?}, not {:?}", case.then);
        assert!(!answered || end == case.then[0], "{what}: acknowledged, and {end:?} all the same");
        let after = self.node.events();
        assert_eq!(after[..before.len()], before, "{what}: what was acknowledged before is not what it was");
        assert!(after.iter().zip(1..).all(|(event, seq)| event.seq == seq), "{what}: a gap");
        let there = self.node.isula(&["volume", "inspect", "v"]).code() == 0;
        match case.words {
            ["volume", "create", ..] => assert!(there || !answered, "{what}: the volume is gone"),
            ["volume", "rm", ..] => {
                deadline::until("the volume is removed", || self.node.isula(&["volume", "inspect", "v"]).code() != 0)
            }
            _ => {}
        }
        assert_eq!(self.node.isula(&["image", "inspect", "image:1"]).code(), 0, "{what}: the image is gone");
        assert!(self.node.ok(&["network", "ls", "-q"]).lines().any(|network| network == "net"), "{what}");
        self.check_reuse(end, case, &what);
    }

    fn cut(&mut self, keep_state: bool) {
        let bystander = Process::of(self.bystander.id().cast_signed()).expect("it runs");
        self.disk.cut(&mut self.node, bystander, keep_state);
        self.boots += 1;
        // Interfaces and rules are the boot's.
        let script = "for link in $(ls /sys/class/net | grep -v '^lo$'); do ip link del $link; done; \
                      for table in nat filter; do iptables -t $table -F; iptables -t $table -X; done";
        let _ = command::run(Command::new("sh").args(["-c", script]), deadline::PATIENCE);
        assert!(bystander.alive());
    }

    fn end(&self) -> End {
        let look = || self.node.list().into_iter().find(|it| it.name == "x");
        // A removal goes on by itself.
        deadline::until("the removal is finished", || look().is_none_or(|found| found.state != "removing"));
        let Some(found) = look() else { return Absent };
        match (found.state.as_str(), found.exit.map(|exit| exit.code)) {
            ("inited", _) => Inited,
            ("exited", Some(Some(code))) => Exited(code.into()),
            ("exited", _) => Unknown,
            // Nothing runs, and nothing is under way.
            (state, _) => panic!("the container is {state} after the host was restarted"),
        }
    }

    /// The container can be started, used and removed, and then nothing of it is left; and nothing else was touched.
    fn check_reuse(&mut self, end: End, case: &Case, what: &str) {
        let node = &self.node;
        if end == Absent {
            node.create(&["--name", "x", "--net", "net"], &SCRIPT);
        }
        match case.given {
            Given::Failing => drop(node.isula(&["start", "x"]).refused(1)),
            _ => {
                node.ok(&["start", "x"]);
                let hosts = node.ok(&["exec", "x", "cat", "/etc/hosts"]);
                assert!(hosts.contains("localhost"), "{what}: its hosts are `{hosts}`");
                if case.given == Given::WithVolume {
                    assert_eq!(node.ok(&["exec", "x", "cat", "/srv/page"]), "of the image", "{what}");
                }
                node.ok(&["stop", "-t", "0", "x"]);
            }
        }
        node.ok(&["rm", "-v", "x"]);
        if let ["volume", "create", ..] = case.words {
            // A directory without a record is taken over, never deleted.
            node.ok(case.words);
        }
        for volume in node.ok(&["volume", "ls", "-q"]).lines() {
            node.ok(&["volume", "rm", volume]);
        }
        let _ = node.isula(&["network", "rm", "other"]);
        // Images stay.
        let left = || {
            let mut left = node.leftovers();
            left.storage.retain(|path| path.starts_with(node.graph().join("volumes")));
            left
        };
        let end = Instant::now() + deadline::PATIENCE;
        while !left().none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(left().none(), "{what}: left behind: {:#?}", left());
        assert!(
            Process::of(self.bystander.id().cast_signed()).is_some_and(Process::alive),
            "{what}: the bystander is gone"
        );
        node.assert_journal_whole();
    }
}
