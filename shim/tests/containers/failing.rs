//! Starts that cannot succeed: the reason is told whole, and nothing is left.

use std::io;
use std::time::{Duration, Instant};

use isulad_shim::sys::spawn::Mode;
use isulad_shim::{Outcome, Step, failpoint, pid_file};

use crate::stand::{Engine, Stand, script, wait_for};

crate::on_both_runtimes!(
    a_command_that_is_not_there_fails_with_the_runtimes_words,
    a_spec_that_is_wrong_fails_with_the_runtimes_words,
    a_terminal_start_that_fails_leaves_nothing,
    after_a_crash_at_any_point_of_the_start_the_next_start_succeeds,
);

fn a_command_that_is_not_there_fails_with_the_runtimes_words(engine: Engine) {
    let stand = Stand::with_args(engine, &["no-such-command"]);
    let failed = stand.start_fails();
    assert!(failed.message.contains("no-such-command"), "{failed:?}");
    assert!(failed.message.contains("not found") || failed.message.contains("No such file"), "{failed:?}");
    assert_eq!(failed.runtime_status, Some(1));
    assert_eq!(failed.step, Step::Run);
    stand.assert_clean();
    assert!(!stand.state.pid().exists());
    assert_eq!(stand.log("stderr"), "", "the runtime's words are not the container's");
}

fn a_spec_that_is_wrong_fails_with_the_runtimes_words(engine: Engine) {
    let mut stand = Stand::with_args(engine, &["/bin/true"]);
    stand.spec["root"]["path"] = "no-such-root".into();
    let failed = stand.start_fails();
    assert!(failed.message.contains("no-such-root"), "{failed:?}");
    stand.assert_clean();
}

fn a_terminal_start_that_fails_leaves_nothing(engine: Engine) {
    let mut stand = Stand::with_args(engine, &["no-such-command"]);
    stand.terminal();
    assert!(stand.start_fails().message.contains("no-such-command"));
    stand.assert_clean();
}

#[test]
fn a_runtime_that_is_not_there_is_named() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    stand.process.runtime.path = "/no/such/runtime".into();
    let failed = stand.start_fails();
    assert_eq!(failed.message, "cannot run the runtime `/no/such/runtime`: No such file or directory (os error 2)");
    assert_eq!(failed.runtime_status, None);
    stand.assert_clean();
}

#[test]
fn a_runtime_that_only_writes_to_its_standard_error_is_heard() {
    for terminal in [false, true] {
        let mut stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
        stand.process.runtime.path = script(&stand.root().join("runtime"), "echo first >&2; echo second >&2; exit 3");
        if terminal {
            stand.terminal();
        }
        let failed = stand.start_fails();
        assert_eq!((failed.message.as_str(), failed.runtime_status), ("first\nsecond", Some(3)));
        stand.assert_clean();
    }
}

#[test]
fn a_runtime_that_hangs_is_killed_with_all_it_started() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    let marks = stand.root().join("marks");
    let text = format!(
        "case \"$*\" in *delete*) exit 0;; esac\necho $$ >>{0}; setsid sh -c 'echo $$ >>{0}; sleep 1000' & wait",
        marks.display()
    );
    stand.process.runtime.path = script(&stand.root().join("runtime"), &text);
    stand.process.runtime_deadline_ms = 1_500;
    let begin = Instant::now();
    let failed = stand.start_fails();
    assert!(begin.elapsed() >= Duration::from_millis(1_500));
    let name = stand.process.runtime.path.display();
    assert_eq!(failed.message, format!("the runtime `{name}` did not finish `run` within 1.5 s and was killed"));
    let pids: Vec<i32> = std::fs::read_to_string(marks).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
    stand.assert_clean();
}

#[test]
fn a_delete_that_hangs_does_not_hold_the_exit() {
    let mut stand = Stand::new(Engine::Runc, "exit 5");
    let text = "case \"$*\" in *delete*) sleep 1000;; esac\nexec /usr/sbin/runc \"$@\"";
    stand.process.runtime.path = script(&stand.root().join("runtime"), text);
    stand.process.runtime_deadline_ms = 2_000;
    stand.start();
    assert_eq!(stand.exit(), isulad_shim::ExitStatus::Code(5));
    assert!(stand.shim_log().contains("did not finish `delete`"), "{}", stand.shim_log());
}

#[test]
fn without_a_description_the_shim_leaves() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    let Outcome::Failed(failed) = stand.launch(Mode::Run, None).unwrap() else { panic!("it runs") };
    assert!(failed.message.contains("process.json"), "{failed:?}");
    let shim = pid_file::read(&stand.state.shim_pid()).unwrap().expect("recovery finds it by this file");
    wait_for("the shim to leave", || !shim.alive());
    assert!(!stand.process.runtime_root.exists());
}

#[test]
fn a_description_that_is_broken_is_told() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    std::fs::write(stand.state.process(), "{").unwrap();
    let Outcome::Failed(failed) = stand.launch(Mode::Run, None).unwrap() else { panic!("it runs") };
    assert!(failed.message.contains("not valid: EOF"), "{failed:?}");
}

/// A shim that dies during the start leaves no answer, and nothing that the runtime's `delete --force` and a new start
/// do not clear away.
fn after_a_crash_at_any_point_of_the_start_the_next_start_succeeds(engine: Engine) {
    use failpoint::*;
    let points = match engine {
        Engine::Runc => &[BEFORE_SHIM_PID, AFTER_SHIM_PID, BEFORE_RUNTIME, AFTER_LAUNCH, AFTER_PID_FILE][..],
        Engine::Crun => &[BEFORE_RUNTIME, AFTER_LAUNCH, AFTER_PID_FILE],
    };
    for point in points {
        let mut stand = Stand::new(engine, "exit 6");
        stand.write();
        stand.fail_at(point);
        match stand.launch(Mode::Run, None) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{point}"),
            // The half that was to stay noticed that the other one had died.
            Ok(Outcome::Failed(failed)) => assert_eq!(failed.step, Step::Setup, "{point}"),
            Ok(Outcome::Ready(_)) => panic!("started in spite of {point}"),
        }
        stand.heal();
        stand.delete_by_hand();
        stand.start();
        assert_eq!(stand.exit(), isulad_shim::ExitStatus::Code(6), "{point}");
        stand.assert_clean();
    }
}
