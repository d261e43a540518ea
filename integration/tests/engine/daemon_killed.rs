//! The daemon killed under running containers: they live on, and their exits and output of that time are known.

use std::time::{SystemTime, UNIX_EPOCH};

use integration::process::{Process, Signal};
use integration::{Node, Runtime};

on_each_runtime!(twenty_live_on, ends_during_the_absence, stopped_gracefully);

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(since.as_nanos()).expect("the clock is before 2262")
}

fn twenty_live_on(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    for name in &names {
        node.sleeper(name);
    }
    let processes = |node: &Node| names.iter().map(|name| node.process_of(name)).collect::<Vec<Process>>();
    let shims = |node: &Node| names.iter().map(|name| node.shim_of(name)).collect::<Vec<Process>>();
    let before = (processes(&node), shims(&node), node.events());
    for _ in 0..3 {
        node.restart();
        assert_eq!(node.list().len(), 20, "reads are served at once");
        node.verified();
        assert_eq!((processes(&node), shims(&node)), (before.0.clone(), before.1.clone()));
    }
    assert!(before.0.iter().all(|process| process.alive()));
    assert_eq!(node.events(), before.2, "nothing happened to them, so there is no event");
    for name in &names {
        assert_eq!(node.ok(&["stop", name]), *name);
        assert_eq!(node.state_of(name)["ExitCode"], 0);
    }
    node.assert_clean_end();
}

fn ends_during_the_absence(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let code = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.1; done";
    let by_code = node.run_detached(&["--name", "code"], &["sh", "-c", code]);
    let by_signal = node.run_detached(&["--name", "signal"], &["sleep", "100000"]);
    let removed = node.run_detached(&["--rm", "--name", "auto"], &["sleep", "100000"]);
    node.sleeper("lives");
    node.written("code", "ready");
    let (first, second, third) = (node.process_of("code"), node.process_of("signal"), node.process_of("auto"));
    let living = node.process_of("lives");
    let shims = ["code", "signal", "auto"].map(|name| node.shim_of(name));
    node.kill9();
    let begun = now();
    first.signal(Signal::USR1);
    second.signal(Signal::KILL);
    third.signal(Signal::KILL);
    // The shims leave when the records are written.
    let patience = integration::deadline::PATIENCE;
    assert!([first, second, third].iter().all(|process| process.wait_gone(patience)));
    assert!(shims.iter().all(|shim| shim.wait_gone(patience)));
    let ended = now();
    node.launch();
    node.verified();
    let end = |name: &str| {
        let state = node.state_of(name);
        (state["Status"].clone(), state["ExitCode"].clone())
    };
    assert_eq!(end("code"), ("exited".into(), 7.into()));
    assert_eq!(end("signal"), ("exited".into(), 137.into()));
    assert_eq!(node.process_of("lives"), living);
    let listed = node.list();
    for id in [&by_code, &by_signal] {
        let summary = listed.iter().find(|it| it.id == *id).expect("it is listed");
        let at = summary.exit.as_ref().expect("it has ended").finished_at;
        assert!(begun < at && at < ended, "the time of the end is the true one: {begun} < {at} < {ended}");
    }
    let exit = listed.iter().find(|it| it.id == by_signal).and_then(|it| it.exit.clone()).expect("it has ended");
    assert_eq!((exit.signal, exit.unknown_cause.as_str(), exit.oom_killed), (9, "", false));
    node.event_named(0, &removed, "Removed");
    assert!(node.list().iter().all(|it| it.id != removed), "its removal was finished");
    node.assert_clean_end();
}

fn stopped_gracefully(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("c");
    let process = node.process_of("c");
    assert_eq!(node.terminate().code(), Some(0));
    assert!(process.alive(), "containers live on");
    assert!(!node.socket().exists(), "its socket is gone");
    node.launch();
    node.verified();
    assert_eq!(node.process_of(&id), process);
    node.assert_clean_end();
}
