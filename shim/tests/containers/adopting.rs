//! A shim that dies does not affect its container.

use std::io;

use isulad_shim::control::{Streams, kind};
use isulad_shim::sys::spawn::Mode;
use isulad_shim::{Cause, ExitRecord, ExitStatus, Frame, Outcome, ProcessRef, Request, failpoint, pid_file};

use crate::stand::{Engine, Stand, alive, read_answer, read_until, send, wait_for};

crate::on_both_runtimes!(
    a_writing_container_survives_lost_shims_without_losing_a_line,
    the_status_after_an_adoption_is_true,
    a_signal_after_an_adoption_is_true,
    input_goes_on_after_an_adoption,
);

/// A process writes lines without a pause while its shims are killed one after the other. Its exit code shows whether
/// any write failed.
fn a_writing_container_survives_lost_shims_without_losing_a_line(engine: Engine) {
    const KILLS: usize = 12;
    let script = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i || exit 99; echo e$i >&2 || exit 98; done
        echo $i >/tmp/count; exit 7";
    let stand = Stand::new(engine, script);
    let mut ready = stand.start();
    let first = ready.process();
    let wait_for_more = || {
        let reached = stand.log_size();
        wait_for("more output", || stand.log_size() > reached + 20_000);
    };
    for _ in 0..KILLS {
        wait_for_more();
        stand.kill_shim(&ready);
        ready = stand.adopt();
        assert_eq!(ready.process(), first);
    }
    wait_for_more();
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(7));
    let record = stand.record();
    assert_eq!((record.status, record.cause, record.start), (ExitStatus::Code(7), Cause::Adopted, 5));
    let count = std::fs::read_to_string(stand.in_root("tmp/count")).unwrap().trim().parse().unwrap();
    for (stream, prefix) in [("stdout", ""), ("stderr", "e")] {
        let (missing, twice) = missing_and_twice(&stand.log(stream), prefix, count);
        assert!(missing.is_empty(), "{stream}: {} lines are missing, from {:?} on", missing.len(), missing.first());
        // A batch may be logged and still in the FIFO when its shim is killed.
        assert!(twice <= KILLS * 65_536 / 2, "{stream}: {twice} lines are there twice");
        println!("{stream}: {count} lines, {twice} of them twice after {KILLS} kills");
    }
    stand.assert_clean();
}

fn missing_and_twice(log: &str, prefix: &str, count: usize) -> (Vec<usize>, usize) {
    let mut seen = vec![0; count + 1];
    for line in log.lines() {
        let number = line.strip_prefix(prefix).and_then(|number| number.parse::<usize>().ok());
        seen[number.unwrap_or_else(|| panic!("a torn line: {line:?}"))] += 1;
    }
    let missing = (1..=count).filter(|number| seen[*number] == 0).collect();
    (missing, seen.iter().map(|times: &usize| times.saturating_sub(1)).sum())
}

fn the_status_after_an_adoption_is_true(engine: Engine) {
    let mut stand = Stand::new(engine, "read line </tmp/go; printf done; exit 42");
    stand.make_fifo("tmp/go");
    let ready = stand.start();
    stand.kill_shim(&ready);
    assert!(alive(&ready));
    let adopted = stand.adopt();
    assert_ne!(adopted.shim(), ready.shim());
    assert_eq!(pid_file::read(&stand.state.shim_pid()).unwrap(), Some(adopted.shim()));
    let client = stand.attach();
    send(&client, &Request::Status);
    assert_eq!(read_answer(&client), Frame::Ready(adopted));
    stand.release("tmp/go");
    assert_eq!(stand.exit(), ExitStatus::Code(42));
    assert_eq!((stand.record().status, stand.record().cause), (ExitStatus::Code(42), Cause::Adopted));
    assert_eq!(stand.log("stdout"), "done");
    stand.clear_failpoint();
    stand.assert_clean();
}

fn a_signal_after_an_adoption_is_true(engine: Engine) {
    let stand = Stand::with_args(engine, &["/bin/sleep", "1000"]);
    let ready = stand.start();
    stand.kill_shim(&ready);
    stand.adopt();
    isulad_shim::sys::pidfd::PidFd::open(ready.process()).unwrap().send_signal(libc::SIGKILL).unwrap();
    assert_eq!(stand.exit(), ExitStatus::Signal(9));
    stand.assert_clean();
}

fn input_goes_on_after_an_adoption(engine: Engine) {
    // A read during the moment without a writer sees an end of file and tries again.
    let mut stand = Stand::new(engine, "until read line && [ $line = go ]; do :; done; exit 8");
    stand.process.open_stdin = true;
    let ready = stand.start();
    stand.kill_shim(&ready);
    stand.adopt();
    let client = stand.attach();
    send(&client, &Request::Hello(Streams::ALL));
    send(&client, &Request::Stdin(b"go\n".to_vec()));
    assert_eq!(stand.exit(), ExitStatus::Code(8));
}

#[test]
fn an_incomplete_line_survives_a_lost_shim() {
    let mut stand = Stand::new(Engine::Runc, "printf half; read line </tmp/go; echo ' whole'");
    stand.make_fifo("tmp/go");
    let (ready, client) = stand.start_with_client();
    read_until(&client, "half");
    stand.kill_shim(&ready);
    stand.adopt();
    stand.release("tmp/go");
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert_eq!(stand.log("stdout"), "half whole\n");
}

#[test]
fn an_adopter_records_the_status_after_a_lost_terminal() {
    let mut stand = Stand::new(Engine::Runc, "trap 'exit 33' HUP; echo set; while :; do sleep 0.01; done");
    stand.terminal();
    let (ready, client) = stand.start_with_client();
    read_until(&client, "set");
    // Stopped until the adopter watches it.
    let init = isulad_shim::sys::pidfd::PidFd::open(ready.process()).unwrap();
    init.send_signal(libc::SIGSTOP).unwrap();
    stand.kill_shim(&ready);
    stand.adopt();
    init.send_signal(libc::SIGCONT).unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(33));
    stand.assert_clean();
}

#[test]
fn an_attach_to_a_lost_terminal_is_refused() {
    let mut stand = Stand::new(Engine::Runc, "trap '' HUP; while [ ! -e /tmp/stop ]; do sleep 0.01; done; exit 3");
    stand.terminal();
    stand.process.open_stdin = true;
    let (ready, client) = stand.start_with_client();
    drop(client);
    stand.kill_shim(&ready);
    stand.adopt();
    let client = stand.attach();
    send(&client, &Request::Hello(Streams::ALL));
    let Frame::Error(kind::HELLO, message) = read_answer(&client) else { panic!("not refused") };
    assert_eq!(message, "the container's terminal was lost with the shim that held it");
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(3));
}

/// Client and container have lost the shim between them: an input that ends with the first client has ended.
#[test]
fn stdin_once_is_not_reopened_after_an_adoption() {
    let mut stand = Stand::new(Engine::Runc, "cat >/dev/null; while [ ! -e /tmp/stop ]; do sleep 0.01; done; cat");
    stand.process.open_stdin = true;
    stand.process.stdin_once = true;
    let (ready, _client) = stand.start_with_client();
    stand.kill_shim(&ready);
    stand.adopt();
    let late = stand.attach();
    send(&late, &Request::Hello(Streams::ALL));
    send(&late, &Request::Stdin(b"lost\n".to_vec()));
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(0), "nothing keeps the input open");
    assert_eq!(stand.log("stdout"), "");
}

#[test]
fn a_reused_pid_is_not_adopted() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/sleep", "1000"]);
    let ready = stand.start();
    stand.kill_shim(&ready);
    let other = ProcessRef { pid: ready.pid, start_time: ready.pid_start + 1 };
    pid_file::write(&stand.state.pid(), other).unwrap();
    let Outcome::Failed(failed) = stand.launch(Mode::Adopt, None).unwrap() else { panic!("adopted") };
    assert!(failed.message.contains("is gone"), "{failed:?}");
    // The adopter has answered and is about to exit; until then it counts as a living shim.
    let refused = pid_file::read(&stand.state.shim_pid()).unwrap();
    wait_for("the adopter's end", || refused.is_none_or(|shim| !shim.alive()));
    pid_file::write(&stand.state.pid(), ready.process()).unwrap();
    assert_eq!(stand.adopt().process(), ready.process());
}

#[test]
fn a_container_that_has_a_shim_is_not_adopted() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/sleep", "1000"]);
    let ready = stand.start();
    let Outcome::Failed(failed) = stand.launch(Mode::Adopt, None).unwrap() else { panic!("adopted") };
    assert_eq!(failed.message, format!("the shim with pid {} is still alive", ready.shim_pid));
    assert_eq!(pid_file::read(&stand.state.shim_pid()).unwrap(), Some(ready.shim()));
}

/// After `ready` there is always either a living container or a durable record.
#[test]
fn a_crash_during_the_exit_leaves_a_whole_record_or_none() {
    use failpoint::*;
    let points = [
        (BEFORE_EXIT_RECORD, false),
        (EXIT_RECORD_WRITTEN, false),
        (AFTER_EXIT_RECORD, true),
        (AFTER_EXIT_FIFO, true),
        (AFTER_DELETE, true),
    ];
    for (point, recorded) in points {
        let mut stand = Stand::new(Engine::Runc, "exit 6");
        stand.fail_at(point);
        stand.start();
        stand.wait_hang_up();
        let record = ExitRecord::read(&stand.process.exit_record).unwrap();
        assert_eq!(record.map(|record| record.status), recorded.then_some(ExitStatus::Code(6)), "{point}");
        stand.clear_failpoint();
        stand.delete_by_hand();
    }
}

#[test]
fn a_container_is_adopted_after_a_crash_right_after_ready() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/sleep", "1000"]);
    stand.fail_at(failpoint::AFTER_READY);
    let ready = stand.start();
    wait_for("the shim to be gone", || !ready.shim().alive());
    stand.clear_failpoint();
    assert_eq!(stand.adopt().process(), ready.process());
}

#[test]
fn adopting_a_container_that_was_never_started_fails() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/true"]);
    stand.write();
    let Outcome::Failed(failed) = stand.launch(Mode::Adopt, None).unwrap() else { panic!("adopted") };
    assert!(failed.message.contains("never started"), "{failed:?}");
    assert_eq!(stand.state.connect_attach().unwrap_err().kind(), io::ErrorKind::NotFound);
}
