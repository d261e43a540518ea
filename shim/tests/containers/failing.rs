//! Starts that fail: the reason is reported in full, and nothing is left.

use std::io;
use std::time::{Duration, Instant};

use isulad_shim::sys::spawn::Mode;
use isulad_shim::{Outcome, Step, failpoint, pid_file};

use crate::stand::{Engine, Stand, script, wait_for};

crate::on_both_runtimes!(
    a_missing_command_fails_with_the_runtimes_message,
    an_invalid_spec_fails_with_the_runtimes_message,
    a_failed_start_with_a_terminal_leaves_nothing,
    after_a_crash_at_any_point_of_the_start_the_next_start_succeeds,
);

fn a_missing_command_fails_with_the_runtimes_message(engine: Engine) {
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

fn an_invalid_spec_fails_with_the_runtimes_message(engine: Engine) {
    let mut stand = Stand::with_args(engine, &["/bin/true"]);
    stand.spec["root"]["path"] = "no-such-root".into();
    let failed = stand.start_fails();
    assert!(failed.message.contains("no-such-root"), "{failed:?}");
    stand.assert_clean();
}

fn a_failed_start_with_a_terminal_leaves_nothing(engine: Engine) {
    let mut stand = Stand::with_args(engine, &["no-such-command"]);
    stand.terminal();
    assert!(stand.start_fails().message.contains("no-such-command"));
    stand.assert_clean();
}

#[test]
fn the_error_names_a_missing_runtime() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    stand.process.runtime.path = "/no/such/runtime".into();
    let failed = stand.start_fails();
    assert_eq!(failed.message, "cannot run the runtime `/no/such/runtime`: No such file or directory (os error 2)");
    assert_eq!(failed.runtime_status, None);
    stand.assert_clean();
}

#[test]
fn a_runtimes_standard_error_becomes_the_message() {
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
fn a_hanging_runtime_is_killed_with_its_process_tree() {
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
fn a_hanging_delete_does_not_block_the_exit() {
    let mut stand = Stand::new(Engine::Runc, "exit 5");
    let text = "case \"$*\" in *delete*) sleep 1000;; esac\nexec /usr/sbin/runc \"$@\"";
    stand.process.runtime.path = script(&stand.root().join("runtime"), text);
    stand.process.runtime_deadline_ms = 2_000;
    stand.start();
    assert_eq!(stand.exit(), isulad_shim::ExitStatus::Code(5));
    assert!(stand.shim_log().contains("did not finish `delete`"), "{}", stand.shim_log());
}

#[test]
fn a_start_without_a_description_fails() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    let Outcome::Failed(failed) = stand.launch(Mode::Run, None).unwrap() else { panic!("it runs") };
    assert!(failed.message.contains("process.json"), "{failed:?}");
    let shim = pid_file::read(&stand.state.shim_pid()).unwrap().expect("recovery finds it by this file");
    wait_for("the shim to leave", || !shim.alive());
    assert!(!stand.process.runtime_root.exists());
}

#[test]
fn a_start_with_a_malformed_description_fails() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    std::fs::write(stand.state.process(), "{").unwrap();
    let Outcome::Failed(failed) = stand.launch(Mode::Run, None).unwrap() else { panic!("it runs") };
    assert!(failed.message.contains("not valid: EOF"), "{failed:?}");
}

/// A shim that dies during the start sends no answer, and leaves only state that the runtime's `delete --force` and a
/// new start clean up.
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
            // The forked half noticed that the first one had died.
            Ok(Outcome::Failed(failed)) => assert_eq!(failed.step, Step::Setup, "{point}"),
            Ok(Outcome::Ready(_)) => panic!("started in spite of {point}"),
        }
        stand.clear_failpoint();
        stand.delete_by_hand();
        stand.start();
        assert_eq!(stand.exit(), isulad_shim::ExitStatus::Code(6), "{point}");
        stand.assert_clean();
    }
}
