//! Commands that make containers, interrupted at any moment: there is a container as it was asked for, or none.

use std::time::Duration;

use integration::process::Signal;
use integration::{Node, Process, Runtime, command, deadline};

on_each_runtime!(a_run_that_is_interrupted_leaves_nothing_half_made, an_interrupted_run_is_not_resumed);

/// Notices a signal at once, also as the first process of a container.
const ENDLESS: [&str; 3] = ["sh", "-c", "trap 'exit 9' INT TERM; while :; do sleep 0.02; done"];

fn a_run_that_is_interrupted_leaves_nothing_half_made(runtime: Runtime) {
    let node = Node::start(runtime);
    for (round, signal) in (0..24).flat_map(|round| [(round, Signal::INT), (round, Signal::KILL)]) {
        let rm = round % 2 == 0;
        let flags: &[&str] = if rm { &["--rm", "--name", "x"] } else { &["--name", "x"] };
        let run = node.spawn(&node.words("run", flags, &ENDLESS));
        // Spread over the time that it takes to make and to start one.
        std::thread::sleep(Duration::from_millis(round * 5));
        let process = Process::of(run.id().cast_signed()).expect("a child not waited for is in /proc");
        process.signal(signal);
        let half_made =
            || node.list().iter().any(|container| matches!(container.state.as_str(), "inited" | "starting"));
        if signal == Signal::KILL {
            drop(command::finish(run, deadline::PATIENCE));
            deadline::until("it runs, or is not there", || !half_made());
        } else {
            // A shell that has not set its trap yet loses the first one.
            let mut run = run;
            deadline::until("isula ends", || {
                process.signal(Signal::INT);
                run.try_wait().expect("a child can be asked").is_some()
            });
            // The third signal within one call ends isula; the container may have lost the first two.
            deadline::until("it has ended, or is not there", || {
                let ended = !half_made() && node.list().iter().all(|container| container.state == "exited");
                if !ended {
                    node.isula(&["kill", "-s", "INT", "x"]);
                }
                ended
            });
        }
        if rm && signal == Signal::INT {
            deadline::until("it is gone", || node.list().is_empty());
        }
        // The name is free after a removal of the leftover container.
        node.remove_all();
    }
    node.assert_clean_end();
}

/// The daemon dies at each step of it: an auto-remove container that never ran is gone, another one has failed to
/// start.
fn an_interrupted_run_is_not_resumed(runtime: Runtime) {
    let mut node = Node::start(runtime);
    for point in ["create-before-files", "create-before-intent", "start-after-intent", "start-mounted"] {
        for rm in [true, false] {
            node.terminate();
            node.launch_with(&[("ISULAD_FAILPOINT", point)]);
            let flags: &[&str] = if rm { &["--rm", "--name", "x"] } else { &["--name", "x"] };
            let run = node.spawn(&node.words("run", flags, &ENDLESS));
            node.died();
            let output = command::finish(run, deadline::PATIENCE).expect("it ends with the daemon");
            assert!([122, 125].contains(&output.code()), "{}", output.stderr);
            node.launch();
            node.verified();
            let states = || node.list().iter().map(|container| container.state.clone()).collect::<Vec<_>>();
            if rm || point.starts_with("create") {
                deadline::until("nothing is there", || node.list().is_empty());
            } else {
                deadline::until("the start has failed", || states() == ["exited"]);
            }
            node.remove_all();
        }
    }
    node.assert_clean_end();
}
