//! The daemon, or the exec's shim, dies at each step of an exec: no process, directory or shim is left, and every
//! beginning in the journal has an end there.

use std::sync::atomic::{AtomicBool, Ordering};

use integration::process::{Process, Signal};
use integration::{Node, Runtime, command, deadline};

use serde_json::json;

use super::{assert_gone, directories, with_word};
use crate::bad_input::script;
use crate::world_changed::{OTHER_BOOT, power_cut};

on_each_runtime!(
    daemon_dies,
    daemon_dies_with_a_detached_one,
    daemon_dies_with_a_probe,
    shim_dies,
    shim_dies_at_each_step,
    shim_dies_while_the_runtime_works,
    an_exec_races_a_restart,
    the_host_is_restarted
);

const POINTS: [&str; 7] =
    ["exec-before-record", "exec-recorded", "exec-told", "exec-ready", "exec-exited", "exec-end-recorded", "exec-done"];

/// The daemon's failpoints that are tried here.
pub(crate) fn points() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter()
}

/// The failpoints of an exec's shim, each with whether the shim leaves its record.
const OF_SHIM: [(&str, bool); 7] = [
    ("exec-shim-pid", false),
    ("exec-before-runtime", false),
    ("exec-spec-written", false),
    ("exec-launched", false),
    ("exec-ready", false),
    ("exec-before-record", false),
    ("exec-recorded", true),
];

/// The same of the shim.
pub(crate) fn shim_points() -> impl Iterator<Item = &'static str> {
    OF_SHIM.into_iter().map(|(point, _)| point)
}

/// Every beginning has an end, and one only.
#[track_caller]
fn assert_execs_ended(node: &Node, point: &str) {
    let events = node.events();
    let of = |name: &str| -> Vec<String> {
        let named = events.iter().filter(|event| event.name == name);
        let mut ids: Vec<_> = named.map(|event| event.attributes["execID"].clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(of("ExecStarted"), of("ExecExited"), "{point}");
}

fn daemon_dies(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let first = node.process_of("x");
    for point in POINTS {
        for script in ["sleep 75201 & sleep 75202 & wait", "exit 3"] {
            // These failpoints come after an end only.
            if script != "exit 3" && ["exec-exited", "exec-end-recorded", "exec-done"].contains(&point) {
                continue;
            }
            eprintln!("{point}: {script}");
            node.kill9();
            node.launch_with(&[("ISULAD_FAILPOINT", point)]);
            node.verified();
            let client = node.spawn(&["exec", "x", "sh", "-c", script]);
            node.died();
            let output = command::finish(client, deadline::PATIENCE).expect("the client does not hang");
            let late = script == "exit 3" && ["exec-exited", "exec-end-recorded", "exec-done"].contains(&point);
            assert!(
                output.code() == 122 || (late && output.code() == 3),
                "{point}: {} {}",
                output.code(),
                output.stderr
            );
            node.launch();
            node.verified();
            assert_gone(&node, &id);
            assert_execs_ended(&node, point);
            assert_eq!((with_word(&node, "75201"), with_word(&node, "75202")), (vec![], vec![]), "{point}");
            assert_eq!(node.process_of("x"), first);
        }
    }
    node.ok(&["exec", "x", "true"]);
    node.assert_clean_end();
}

fn daemon_dies_with_a_detached_one(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    for point in POINTS {
        let late = ["exec-exited", "exec-end-recorded", "exec-done"].contains(&point);
        eprintln!("{point}");
        node.kill9();
        node.launch_with(&[("ISULAD_FAILPOINT", point)]);
        node.verified();
        let script = if late { "exit 3" } else { "while [ ! -e /tmp/stop ]; do sleep 0.01; done" };
        let client = node.spawn(&["exec", "-d", "x", "sh", "-c", script]);
        node.died();
        command::finish(client, deadline::PATIENCE).expect("the client does not hang");
        node.launch();
        node.verified();
        if ["exec-told", "exec-ready"].contains(&point) {
            // Its shim has the request, and runs it.
            assert_eq!(directories(&node, &id).len(), 1);
            node.ok(&["exec", "x", "touch", "/tmp/stop"]);
        }
        assert_gone(&node, &id);
        deadline::until("its end is recorded", || {
            let events = node.events();
            let count = |name: &str| events.iter().filter(|event| event.name == name).count();
            count("ExecStarted") <= count("ExecExited")
        });
        assert_execs_ended(&node, point);
        node.ok(&["exec", "x", "rm", "-f", "/tmp/stop"]);
        // Or the next daemon dies of it.
        assert_gone(&node, &id);
    }
    node.assert_clean_end();
}

fn daemon_dies_with_a_probe(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    let probe = |node: &Node| {
        let process = cri_api::isula::v1::ExecProcess {
            container: "x".into(),
            command: ["sh", "-c", "sleep 75301 & wait"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let request = cri_api::isula::v1::ExecSyncRequest { process: Some(process), timeout_ms: 400 };
        node.block_on(async { node.execs().exec_sync(request).await }).unwrap_err()
    };
    for point in ["exec-exited", "exec-done"] {
        node.kill9();
        node.launch_with(&[("ISULAD_FAILPOINT", point)]);
        node.verified();
        probe(&node);
        node.died();
        node.launch();
        node.verified();
        assert_gone(&node, &id);
        assert!(with_word(&node, "75301").is_empty());
    }
    assert_eq!(node.seq(), seq, "the journal has nothing new");
    node.assert_clean_end();
}

fn shim_dies(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let keeper = node.shim_of("x");
    for detached in [false, true] {
        let words = ["exec", if detached { "-d" } else { "-i" }, "x", "sh", "-c", "sleep 75401 & sleep 75402 & wait"];
        let mut client = Some(node.spawn(&words));
        let finish = |client| command::finish(client, deadline::PATIENCE).expect("the client does not hang");
        deadline::until("it runs", || with_word(&node, "75402").len() == 1);
        if detached {
            // The shim has reported the start by then.
            assert_eq!(client.take().map(finish).map(|output| output.code()), Some(0));
        }
        for shim in node.shims().into_iter().filter(|shim| *shim != keeper) {
            shim.signal(Signal::KILL);
        }
        if detached {
            // The process goes on, and ends with the signal that it gets.
            assert_eq!(with_word(&node, "75402").len(), 1);
            with_word(&node, "75401").into_iter().chain(with_word(&node, "75402")).for_each(integration::Process::kill);
        } else {
            let errors = client.take().map(finish).expect("it is attached").stderr;
            // Before or after its shim has reported the start.
            let words = ["the shim of the process was lost", "the shim of the process has died"];
            assert!(words.iter().any(|words| errors.contains(words)), "{errors}");
            deadline::until("it is gone", || {
                with_word(&node, "75401").is_empty() && with_word(&node, "75402").is_empty()
            });
        }
        assert_gone(&node, &id);
        deadline::until("the end is recorded", || {
            let events = node.events();
            let count = |name: &str| events.iter().filter(|event| event.name == name).count();
            count("ExecStarted") == count("ExecExited")
        });
        assert_execs_ended(&node, "shim");
    }
    node.assert_clean_end();
}

fn shim_dies_at_each_step(runtime: Runtime) {
    for (point, recorded) in OF_SHIM {
        let mut node = Node::builder(runtime).build();
        node.launch_with(&[("ISULAD_SHIM_FAILPOINT", point)]);
        let id = node.sleeper("x");
        for flag in ["-i", "-d"] {
            let before = node.seq();
            let client = node.spawn(&["exec", flag, "x", "sh", "-c", "sleep 0.05; exit 3"]);
            let output = command::finish(client, deadline::PATIENCE).expect("the client does not hang");
            // A detached one is answered once it runs.
            let ran = flag == "-d" && ["exec-ready", "exec-before-record", "exec-recorded"].contains(&point);
            // Where the process ends first, the shim dies before its word of the beginning has left it.
            let unheard = ran && output.stderr.contains("the shim of the process has died");
            let expected = (output.code() == 0) == ran || unheard || point == "exec-ready";
            assert!(expected, "{point} {flag}: {}", output.stderr);
            assert_gone(&node, &id);
            let ended = node.events().into_iter().filter(|event| event.seq > before && event.name == "ExecExited");
            let codes: Vec<_> = ended.map(|event| event.attributes["exitCode"].clone()).collect();
            // Without the record the kernel may know.
            assert!(if recorded { codes == ["3"] } else { codes.len() == 1 }, "{point} {flag}: {codes:?}");
        }
        assert_execs_ended(&node, point);
        node.assert_clean_end();
    }
}

/// A process does not begin after its end was recorded; but a detached one begins, and its end is waited for.
fn shim_dies_while_the_runtime_works(runtime: Runtime) {
    let mut node = Node::builder(runtime).build();
    let [begun, go] = ["begun", "go"].map(|name| node.dir().join(name));
    // Without the node's directory there is no test to wait for.
    let waits = format!(
        "case \"$*\" in *' exec '*) touch {begun}; while [ -e {begun} ] && [ ! -e {go} ]; do sleep 0.01; done;; esac; \
         exec $real \"$@\"",
        begun = begun.display(),
        go = go.display()
    );
    let slow = script(&node, "slow", &waits);
    node.set("runtimes", json!({"slow": {"path": slow}}));
    node.launch();
    let id = node.run_detached(&["--name", "x", "--runtime", "slow"], &["sh", "-c", "sleep 100000 & wait"]);
    let keeper = node.shim_of("x");
    for detached in [false, true] {
        let client = node.spawn(&["exec", if detached { "-d" } else { "-i" }, "x", "sleep", "75601"]);
        deadline::until("the runtime is at work", || begun.exists());
        let exec = node.state().join("slow").join(&id).join("exec");
        let worker = || {
            let exec = std::fs::read_dir(&exec).expect("it is there").flatten().next()?;
            let text = std::fs::read_to_string(exec.path().join("gone")).ok()?;
            Process::of(text.split(' ').next()?.parse().ok()?)
        };
        deadline::until("the shim has its request", || worker().is_some());
        let working = worker().expect("it is at work");
        // A detached one was started by two forks, and the first half may be there still: the runtime is the shim's
        // child.
        let shim = working.parent().expect("the runtime has a parent");
        assert!(shim != keeper && node.shims().contains(&shim), "{shim:?} is no shim of an exec");
        let ended = || node.events().iter().filter(|event| event.name == "ExecExited").count();
        let before = ended();
        shim.kill();
        let output = command::finish(client, deadline::PATIENCE)
            .unwrap_or_else(|_| panic!("isula does not end although the shim {shim:?} was killed"));
        assert_eq!(output.code(), 125, "{}", output.stderr);
        if detached {
            std::fs::write(&go, "").expect("the directory is ours");
            deadline::until("the runtime has run it", || with_word(&node, "75601").len() == 1);
            assert_eq!(ended(), before, "it has not ended");
            with_word(&node, "75601").into_iter().for_each(Process::kill);
        }
        deadline::until("its end is recorded", || ended() == before + 1);
        assert!(!working.alive(), "and nothing can come of it");
        assert_eq!(with_word(&node, "75601"), []);
        std::fs::remove_file(&begun).expect("it was there");
    }
    assert_execs_ended(&node, "shim");
    node.assert_clean_end();
}

/// The start that follows waits for the execs of the one before, which wait for nothing of it.
fn an_exec_races_a_restart(runtime: Runtime) {
    let node = Node::start(runtime);
    node.sleeper("x");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let output = node.isula(&["exec", "x", "sh", "-c", "exit 3"]);
                    // Run, ended with the container, or refused.
                    assert!([1, 3, 125, 137].contains(&output.code()), "{} {}", output.code(), output.stderr);
                }
            });
        }
        // Also behind commands that wait for the start.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                node.isula(&["rename", "x", "x"]);
            }
        });
        let restarted: Vec<_> = (0..4).map(|_| node.isula(&["restart", "-t", "0", "x"])).collect();
        stop.store(true, Ordering::Relaxed);
        for output in restarted {
            assert_eq!(output.code(), 0, "{}", output.stderr);
        }
    });
    let failed = node.events().into_iter().filter(|event| event.name == "StartFailed").count();
    assert_eq!((failed, node.status_of("x").as_str()), (0, "running"));
    deadline::until("every end is recorded", || {
        let events = node.events();
        let count = |name: &str| events.iter().filter(|event| event.name == name).count();
        count("ExecStarted") == count("ExecExited")
    });
    assert_execs_ended(&node, "restart");
    node.assert_clean_end();
}

/// Its directory went with the boot: its end is recorded, with an unknown exit code.
fn the_host_is_restarted(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    node.ok(&["exec", "-d", "x", "sleep", "75204"]);
    let of_exec = directories(&node, &id).into_iter().map(|directory| directory.join("shim-pid"));
    let shims = of_exec.map(|file| {
        let text = std::fs::read_to_string(file).expect("the shim has written it");
        let pid = text.split(' ').next().expect("a number").parse().expect("a number");
        Process::of(pid).expect("the shim lives")
    });
    let mut lost: Vec<_> = shims.collect();
    assert_eq!(lost.len(), 1);
    lost.extend([node.shim_of("x"), node.process_of("x")]);
    lost.extend(with_word(&node, "75204"));
    power_cut(&mut node, lost);
    std::fs::remove_dir_all(node.state()).expect("the state directory can be removed");
    node.launch_with(&[OTHER_BOOT]);
    node.verified();
    assert_execs_ended(&node, "restarted");
    let exited = node.events().into_iter().find(|event| event.name == "ExecExited").expect("its end is recorded");
    assert_eq!(exited.attributes["exitCode"], "unknown");
    assert_eq!(exited.attributes["cause"], "the host was restarted while the container ran");
    node.assert_clean_end();
}
