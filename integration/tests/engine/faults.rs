//! The daemon dies at each of its failpoints, that is between any two steps of every operation. The next daemon
//! finishes or undoes interrupted operations, keeps acknowledged ones, and leaves nothing behind.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use cri_api::isula::v1::Event;
use integration::process::Signal;
use integration::{Node, Runtime, binaries, command, deadline};

use crate::{attach, exec, files, images, networks, restart_policy, update};

on_each_runtime!(
    dies_creating,
    dies_starting,
    dies_failing_to_start,
    dies_attached,
    dies_pausing,
    dies_resuming,
    dies_stopping,
    dies_when_a_container_exits,
    dies_removing,
    dies_removing_by_force,
    dies_when_a_shim_is_lost,
);

/// The container before the start of the daemon that will die.
#[derive(Clone, Copy)]
enum Given {
    Nothing,
    Created,
    Failing,
    Running,
    Paused,
    Exited,
}

/// The operation at which the daemon dies.
#[derive(Clone, Copy)]
enum When {
    /// `isula` with these words.
    Asked(&'static [&'static str]),
    Create,
    Run,
    RunRemoved,
    RunAttached,
    /// A client attaches, and is killed.
    Left,
    /// The container's first process gets this signal.
    Signalled(Signal),
    ShimKilled,
}

/// The next daemon brings the container here: any of these.
type Then = &'static [End];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Absent,
    Inited,
    Running,
    Paused,
    /// Ended, with this code.
    Exited(i64),
}

struct Case {
    point: &'static str,
    given: Given,
    when: When,
    then: Then,
}

const fn case(point: &'static str, given: Given, when: When, then: Then) -> Case {
    Case { point, given, when, then }
}

const CREATING: &[Case] = &[
    case("create-before-files", Given::Nothing, When::Create, &[End::Absent]),
    case("create-before-files", Given::Nothing, When::Run, &[End::Absent]),
    case("create-before-intent", Given::Nothing, When::Create, &[End::Absent]),
    case("create-before-intent", Given::Nothing, When::RunAttached, &[End::Absent]),
    case("create-done", Given::Nothing, When::Create, &[End::Inited]),
];

const START: When = When::Asked(&["start", "x"]);
const RESTART: When = When::Asked(&["restart", "-t", "5", "x"]);

const STARTING: &[Case] = &[
    case("start-after-intent", Given::Created, START, &[End::Exited(125)]),
    case("start-after-intent", Given::Nothing, When::Run, &[End::Exited(125)]),
    case("start-after-intent", Given::Nothing, When::RunRemoved, &[End::Absent]),
    case("start-after-intent", Given::Running, RESTART, &[End::Exited(125)]),
    case("start-mounted", Given::Created, START, &[End::Exited(125)]),
    case("start-mounted", Given::Nothing, When::RunAttached, &[End::Exited(125)]),
    case("start-spec-written", Given::Created, START, &[End::Exited(125)]),
    // Either the shim is found at work, or it is ended before it has begun.
    case("start-shim-spawned", Given::Created, START, &[End::Running, End::Exited(125)]),
    case("start-shim-spawned", Given::Nothing, When::RunRemoved, &[End::Running, End::Absent]),
    case("start-ready", Given::Created, START, &[End::Running]),
    case("start-ready", Given::Nothing, When::Run, &[End::Running]),
    case("start-ready", Given::Running, RESTART, &[End::Running]),
    case("start-done", Given::Created, START, &[End::Running]),
    case("start-done", Given::Nothing, When::RunAttached, &[End::Running]),
];

const FAILING: &[Case] = &[case("start-undone", Given::Failing, START, &[End::Exited(125)])];

const ATTACHING: &[Case] = &[
    case("attach-recorded", Given::Running, When::Asked(&["attach", "x"]), &[End::Running]),
    // The start goes on beside the client that asked for it.
    case("attach-recorded", Given::Nothing, When::RunAttached, &[End::Running, End::Exited(125)]),
    case("attach-left", Given::Running, When::Left, &[End::Running]),
];

const PAUSING: &[Case] = &[
    case("pause-after-intent", Given::Running, When::Asked(&["pause", "x"]), &[End::Running]),
    case("pause-frozen", Given::Running, When::Asked(&["pause", "x"]), &[End::Paused]),
];

const RESUMING: &[Case] = &[
    case("resume-after-intent", Given::Paused, When::Asked(&["unpause", "x"]), &[End::Paused]),
    case("resume-thawed", Given::Paused, When::Asked(&["unpause", "x"]), &[End::Running]),
];

const STOP: When = When::Asked(&["stop", "-t", "30", "x"]);

const STOPPING: &[Case] = &[
    case("stop-after-intent", Given::Running, STOP, &[End::Exited(7)]),
    case("stop-after-intent", Given::Running, When::Asked(&["stop", "-t", "0", "x"]), &[End::Exited(137)]),
    case("stop-after-intent", Given::Running, RESTART, &[End::Running]),
    // A single signal is not sent again by another daemon: it may have arrived.
    case("stop-after-intent", Given::Running, When::Asked(&["kill", "-s", "TERM", "x"]), &[End::Running]),
    case("stop-signalled", Given::Running, STOP, &[End::Exited(7)]),
    case("stop-signalled", Given::Running, RESTART, &[End::Running]),
    case("stop-killed", Given::Running, When::Asked(&["stop", "-t", "0", "x"]), &[End::Exited(137)]),
    case("stop-killed", Given::Running, When::Asked(&["kill", "x"]), &[End::Exited(137)]),
];

const EXITING: &[Case] = &[
    case("exit-seen", Given::Running, When::Signalled(Signal::TERM), &[End::Exited(7)]),
    case("exit-seen", Given::Running, When::Signalled(Signal::KILL), &[End::Exited(137)]),
    case("exit-seen", Given::Running, RESTART, &[End::Running]),
    case("exit-recorded", Given::Running, When::Signalled(Signal::TERM), &[End::Exited(7)]),
    case("exit-recorded", Given::Running, RESTART, &[End::Running, End::Exited(125)]),
    case("release-unmounted", Given::Running, When::Signalled(Signal::TERM), &[End::Exited(7)]),
    case("release-done", Given::Running, When::Signalled(Signal::TERM), &[End::Exited(7)]),
];

const REMOVE: When = When::Asked(&["rm", "x"]);

const REMOVING: &[Case] = &[
    case("remove-after-intent", Given::Exited, REMOVE, &[End::Absent]),
    case("remove-after-intent", Given::Created, REMOVE, &[End::Absent]),
    case("remove-released", Given::Exited, REMOVE, &[End::Absent]),
    case("remove-bundle-gone", Given::Exited, REMOVE, &[End::Absent]),
    case("remove-done", Given::Exited, REMOVE, &[End::Absent]),
];

const FORCE: When = When::Asked(&["rm", "-f", "x"]);

const FORCING: &[Case] = &[
    case("stop-after-intent", Given::Running, FORCE, &[End::Absent]),
    case("stop-after-intent", Given::Paused, FORCE, &[End::Absent]),
    case("stop-killed", Given::Running, FORCE, &[End::Absent]),
    case("stop-killed", Given::Paused, FORCE, &[End::Absent]),
    case("exit-seen", Given::Running, FORCE, &[End::Absent]),
    case("exit-recorded", Given::Running, FORCE, &[End::Absent]),
    case("release-unmounted", Given::Running, FORCE, &[End::Absent]),
    case("remove-after-intent", Given::Running, FORCE, &[End::Absent]),
    case("remove-bundle-gone", Given::Running, FORCE, &[End::Absent]),
    case("remove-done", Given::Paused, FORCE, &[End::Absent]),
];

const LOSING: &[Case] = &[
    case("shim-lost-recorded", Given::Running, When::ShimKilled, &[End::Running]),
    case("shim-lost-recorded", Given::Paused, When::ShimKilled, &[End::Paused]),
    case("shim-adopted", Given::Running, When::ShimKilled, &[End::Running]),
];

fn all_cases() -> impl Iterator<Item = &'static Case> {
    let groups =
        [CREATING, STARTING, FAILING, ATTACHING, PAUSING, RESUMING, STOPPING, EXITING, REMOVING, FORCING, LOSING];
    groups.into_iter().flatten()
}

#[test]
fn every_failpoint_has_a_case() {
    let listed = command::run(Command::new(binaries::path("isulad")).arg("--list-failpoints"), deadline::PATIENCE).ok();
    let listed: BTreeSet<&str> = listed.lines().collect();
    let mut tried: BTreeSet<&str> = all_cases().map(|case| case.point).collect();
    tried.extend(attach::POINTS);
    tried.extend(images::points());
    tried.extend(exec::points());
    tried.extend(networks::points());
    tried.extend(restart_policy::points());
    tried.extend(update::POINTS);
    tried.extend(files::points());
    assert_eq!(tried, listed);
}

fn dies_creating(runtime: Runtime) {
    try_all(runtime, CREATING);
}

fn dies_starting(runtime: Runtime) {
    try_all(runtime, STARTING);
}

fn dies_failing_to_start(runtime: Runtime) {
    try_all(runtime, FAILING);
}

fn dies_attached(runtime: Runtime) {
    try_all(runtime, ATTACHING);
}

fn dies_pausing(runtime: Runtime) {
    try_all(runtime, PAUSING);
}

fn dies_resuming(runtime: Runtime) {
    try_all(runtime, RESUMING);
}

fn dies_stopping(runtime: Runtime) {
    try_all(runtime, STOPPING);
}

fn dies_when_a_container_exits(runtime: Runtime) {
    try_all(runtime, EXITING);
}

fn dies_removing(runtime: Runtime) {
    try_all(runtime, REMOVING);
}

fn dies_removing_by_force(runtime: Runtime) {
    try_all(runtime, FORCING);
}

fn dies_when_a_shim_is_lost(runtime: Runtime) {
    try_all(runtime, LOSING);
}

/// All cases on one engine, one after the other: a later one would find an earlier one's leftovers.
fn try_all(runtime: Runtime, cases: &[Case]) {
    let mut node = Node::start(runtime);
    node.sleeper("bystander");
    for (number, case) in cases.iter().enumerate() {
        eprintln!("case {number}: {}", case.point);
        try_one(&mut node, case);
    }
    node.assert_clean_end();
}

const SCRIPT: [&str; 3] = ["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"];

fn try_one(node: &mut Node, case: &Case) {
    prepare(node, case.given);
    let bystander = node.process_of("bystander");
    let before = node.events();
    let id = node.list().into_iter().find(|it| it.name == "x").map(|it| it.id);

    node.kill9();
    node.launch_with(&[("ISULAD_FAILPOINT", case.point)]);
    let caller = act(node, case.when);
    let status = node.died();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{}: {status}", case.point);
    let answer = caller.map(|caller| command::finish(caller, deadline::PATIENCE).expect("the caller does not hang"));

    node.launch();
    node.verified();
    let end = settled(node, case.then);
    assert!(case.then.contains(&end), "{}: the container is {end:?}, not {:?}", case.point, case.then);
    if let Some(answer) = answer.filter(|answer| answer.code() == 0) {
        // A success that was acknowledged is true.
        assert_eq!(end, case.then[0], "{}: acknowledged with `{}`", case.point, answer.text());
    }
    assert_eq!(node.process_of("bystander"), bystander, "{}: another container was touched", case.point);
    assert!(bystander.alive());
    let after = node.events();
    assert_eq!(after[..before.len()], before, "{}: the journal before the crash is not what it was", case.point);
    assert!(after.iter().zip(1..).all(|(event, seq)| event.seq == seq), "{}: a gap", case.point);
    attach::assert_sessions_ended(node, case.point);

    do_it_again(node, end);
    if end != End::Absent {
        let removed = node.isula(&["rm", "-f", "x"]);
        // An auto-remove container may be gone with the stop already.
        let itself = matches!(case.when, When::RunRemoved) && removed.stderr.contains("No such container");
        assert!(itself || removed.code() == 0, "{}: {}", case.point, removed.stderr);
    }
    nothing_but_the_bystander(node, case.point, id.as_deref());
}

fn prepare(node: &Node, given: Given) {
    match given {
        Given::Nothing => {}
        Given::Created => drop(node.create(&["--name", "x"], &SCRIPT)),
        Given::Failing => drop(node.create(&["--name", "x"], &["no-such-command"])),
        Given::Running | Given::Paused | Given::Exited => {
            node.run_detached(&["--name", "x"], &SCRIPT);
            node.written("x", "ready");
            match given {
                Given::Paused => drop(node.ok(&["pause", "x"])),
                Given::Exited => drop(node.ok(&["stop", "x"])),
                _ => {}
            }
        }
    }
}

/// Starts the operation that kills the daemon, which may die before this returns.
fn act(node: &Node, when: When) -> Option<std::process::Child> {
    let create = |verb, flags: &[&str]| node.spawn(&node.words(verb, &[flags, &["--name", "x"]].concat(), &SCRIPT));
    match when {
        When::Asked(words) => Some(node.spawn(words)),
        When::Create => Some(create("create", &[])),
        When::Run => Some(create("run", &["-d"])),
        When::RunRemoved => Some(create("run", &["-d", "--rm"])),
        When::RunAttached => Some(create("run", &[])),
        When::Left => {
            let seq = node.seq();
            let mut client = node.spawn(&["attach", "x"]);
            node.event_within(deadline::PATIENCE, seq, |event| event.name == "Attached").expect("it attaches");
            client.kill().expect("it runs");
            Some(client)
        }
        // A change that recovery sees is recorded by recovery, not by the watch of the shim.
        When::Signalled(signal) => {
            node.verified();
            node.process_of("x").signal(signal);
            None
        }
        When::ShimKilled => {
            node.verified();
            node.shim_of("x").signal(Signal::KILL);
            None
        }
    }
}

/// Where the container is when everything interrupted was finished or undone: a stop or a removal that is resumed takes
/// its time.
fn settled(node: &Node, then: Then) -> End {
    loop {
        let seq = node.seq();
        let end = look(node);
        let goes_on = |event: &Event| ["Exited", "Removed", "Started", "StartFailed"].contains(&event.name.as_str());
        if then.contains(&end) || node.event_within(Duration::from_secs(15), seq, goes_on).is_err() {
            return end;
        }
    }
}

fn look(node: &Node) -> End {
    let Some(found) = node.list().into_iter().find(|it| it.name == "x") else { return End::Absent };
    match found.state.as_str() {
        "inited" => End::Inited,
        "running" => End::Running,
        "paused" => End::Paused,
        "exited" => End::Exited(found.exit.and_then(|exit| exit.code).map_or(-1, i64::from)),
        // Under way.
        _ => End::Exited(-2),
    }
}

/// The operation that was interrupted can be done again, from wherever it has ended.
fn do_it_again(node: &Node, end: End) {
    match end {
        End::Absent => drop(node.create(&["--name", "x"], &SCRIPT)),
        End::Paused => drop(node.ok(&["unpause", "x"])),
        End::Running | End::Inited | End::Exited(_) => {}
    }
    if node.inspect("x")["Path"] == "sh" {
        node.ok(&["start", "x"]);
        let process = node.process_of("x");
        node.ok(&["pause", "x"]);
        node.ok(&["unpause", "x"]);
        node.ok(&["restart", "-t", "0", "x"]);
        assert!(node.process_of("x") != process && !process.alive());
        node.ok(&["stop", "-t", "0", "x"]);
    } else {
        assert_eq!(node.isula(&["start", "x"]).code(), 1, "it still cannot start");
    }
    if end == End::Absent {
        node.ok(&["rm", "x"]);
    }
}

fn nothing_but_the_bystander(node: &Node, point: &str, id: Option<&str>) {
    let bystander = node.inspect("bystander")["Id"].as_str().expect("an id is text").to_owned();
    let left = node.leftovers();
    let foreign = |paths: &[std::path::PathBuf]| {
        paths.iter().filter(|path| !path.to_string_lossy().contains(&bystander)).cloned().collect::<Vec<_>>()
    };
    let strays = (foreign(&left.mounts), foreign(&left.cgroups), foreign(&left.directories));
    assert_eq!(strays, (vec![], vec![], vec![]), "{point}: left behind (x was {id:?})");
    assert_eq!(left.shims.len(), 1, "{point}: {:?}", left.shims);
}
