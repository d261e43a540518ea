//! From start to exit, without faults.

use isulad_shim::process::{Log, OomCounter};
use isulad_shim::sys::process_ref::Stat;
use isulad_shim::{Cause, ExitRecord, ExitStatus, Outcome, ProcessRef, pid_file};
use nix::unistd::{Pid, getsid};
use serde_json::json;

use crate::disk::SmallDisk;
use crate::stand::{Engine, Stand, alive, log_text, read_all, wait_for};

crate::on_both_runtimes!(
    an_exit_code_is_recorded_and_reported,
    a_signal_is_recorded_as_a_signal,
    a_real_time_signal_is_recorded_as_a_signal,
    a_process_that_ends_at_once_counts_as_started,
    the_last_output_is_never_lost,
    stdout_and_stderr_are_logged_separately,
    an_unfinished_line_is_logged_at_the_end,
    the_same_directory_serves_the_next_start,
    writers_left_in_a_shared_pid_namespace_do_not_hold_the_exit,
);

fn an_exit_code_is_recorded_and_reported(engine: Engine) {
    let stand = Stand::new(engine, "exit 7");
    let ready = stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(7));
    let record = stand.record();
    assert_eq!((record.status, record.cause, record.start), (ExitStatus::Code(7), Cause::Exited, 5));
    assert_eq!((record.pid, record.oom), (ready.pid, false));
    assert!(record.at > ready.at - 1_000_000_000 && record.at < ready.at + 60_000_000_000);
    assert_eq!(pid_file::read(&stand.state.pid()).unwrap(), Some(ready.process()));
    assert_eq!(pid_file::read(&stand.state.shim_pid()).unwrap(), Some(ready.shim()));
    stand.assert_clean();
}

fn a_signal_is_recorded_as_a_signal(engine: Engine) {
    let stand = Stand::with_args(engine, &["/bin/sleep", "1000"]);
    let ready = stand.start();
    assert!(alive(&ready));
    isulad_shim::sys::pidfd::PidFd::open(ready.process()).unwrap().send_signal(libc::SIGKILL).unwrap();
    assert_eq!(stand.exit(), ExitStatus::Signal(9));
    assert_eq!(stand.record().status, ExitStatus::Signal(9));
    stand.assert_clean();
}

fn a_real_time_signal_is_recorded_as_a_signal(engine: Engine) {
    let signal = libc::SIGRTMIN() + 3;
    let mut stand = Stand::with_args(engine, &["/bin/sleep", "1000"]);
    // Process 1 of a namespace ignores signals without a handler.
    stand.share_pid_namespace();
    let ready = stand.start();
    isulad_shim::sys::pidfd::PidFd::open(ready.process()).unwrap().send_signal(signal).unwrap();
    assert_eq!(stand.exit(), ExitStatus::Signal(37));
    assert_eq!((stand.record().status, stand.record().cause), (ExitStatus::Signal(37), Cause::Exited));
    stand.assert_clean();
}

/// In a shared pid namespace, orphaned processes are reparented to the shim.
#[test]
fn reaping_an_orphan_killed_by_a_real_time_signal_does_not_end_the_shim() {
    let script = "(sleep 1000 & echo $! >/tmp/orphan; echo done >/tmp/done) & wait; read line </tmp/go; exit 9";
    let mut stand = Stand::new(Engine::Runc, script);
    stand.share_pid_namespace();
    stand.make_fifo("tmp/go");
    stand.make_fifo("tmp/done");
    let ready = stand.start();
    std::fs::read(stand.in_root("tmp/done")).unwrap();
    let pid = std::fs::read_to_string(stand.in_root("tmp/orphan")).unwrap().trim().parse().unwrap();
    wait_for("the orphan to be the shim's", || Stat::read(pid).unwrap().parent == ready.shim_pid);
    let orphan = ProcessRef::of(pid).unwrap();
    isulad_shim::sys::pidfd::PidFd::open(orphan).unwrap().send_signal(libc::SIGRTMIN() + 3).unwrap();
    wait_for("the orphan to be reaped", || ProcessRef::of(pid).is_err());
    assert!(ready.shim().alive());
    stand.release("tmp/go");
    assert_eq!(stand.exit(), ExitStatus::Code(9));
    assert_eq!(stand.record().status, ExitStatus::Code(9));
    stand.assert_clean();
}

fn a_process_that_ends_at_once_counts_as_started(engine: Engine) {
    for _ in 0..5 {
        let stand = Stand::with_args(engine, &["/bin/true"]);
        stand.start();
        assert_eq!(stand.exit(), ExitStatus::Code(0));
        stand.assert_clean();
    }
}

fn the_last_output_is_never_lost(engine: Engine) {
    let whole: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    let mut stand = Stand::with_args(engine, &["/bin/seq", "20000"]);
    for round in 0..20 {
        let _ = std::fs::remove_file(stand.process.bundle.join("console.log"));
        let (_, client) = stand.start_with_client();
        let (out, err, exit) = read_all(&client);
        assert_eq!(exit, Some(ExitStatus::Code(0)));
        assert_eq!(stand.exit(), ExitStatus::Code(0));
        assert!(out == whole.as_bytes(), "round {round}: the client has {} of {} bytes", out.len(), whole.len());
        assert!(err.is_empty());
        let log = stand.log("stdout");
        assert!(log == whole, "round {round}: the log has {} of {} bytes", log.len(), whole.len());
    }
    stand.assert_clean();
}

fn stdout_and_stderr_are_logged_separately(engine: Engine) {
    let mut stand = Stand::new(engine, "echo out; echo err >&2; echo again >/proc/self/fd/2");
    let (_, client) = stand.start_with_client();
    assert_eq!(read_all(&client), (b"out\n".to_vec(), b"err\nagain\n".to_vec(), Some(ExitStatus::Code(0))));
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert_eq!((stand.log("stdout").as_str(), stand.log("stderr").as_str()), ("out\n", "err\nagain\n"));
}

fn an_unfinished_line_is_logged_at_the_end(engine: Engine) {
    let stand = Stand::new(engine, "printf 'one\\ntwo'");
    stand.start();
    stand.exit();
    assert_eq!(stand.log("stdout"), "one\ntwo");
}

fn the_same_directory_serves_the_next_start(engine: Engine) {
    let mut stand = Stand::new(engine, "exit 3");
    for start in 5..8 {
        stand.process.start = start;
        stand.start();
        assert_eq!(stand.exit(), ExitStatus::Code(3));
        assert_eq!(stand.record().start, start);
        stand.assert_clean();
    }
}

fn writers_left_in_a_shared_pid_namespace_do_not_hold_the_exit(engine: Engine) {
    let mut stand = Stand::new(engine, "sleep 1000 & echo here; exit 4");
    stand.share_pid_namespace();
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(4));
    assert_eq!(stand.log("stdout"), "here\n");
    stand.assert_clean();
}

#[test]
fn the_shim_has_a_session_of_its_own() {
    let stand = Stand::with_args(Engine::Runc, &["/bin/sleep", "1000"]);
    let shim = Pid::from_raw(stand.start().shim_pid);
    wait_for("the shim's session", || getsid(Some(shim)) == Ok(shim));
    assert_eq!(stand.shim_log(), "");
}

#[test]
fn a_log_of_many_files_holds_the_newest_lines() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "5000"]);
    let path = stand.process.bundle.join("console.log");
    stand.process.log = Log::JsonFile { path: path.clone(), max_size: 64 * 1024, max_files: 3 };
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    let kept: String = [".2", ".1", ""]
        .iter()
        .map(|end| {
            let file = std::path::PathBuf::from(format!("{}{end}", path.display()));
            assert!(std::fs::metadata(&file).unwrap().len() <= 64 * 1024);
            log_text(&file, "stdout")
        })
        .collect();
    let whole: String = (1..=5_000).map(|number| format!("{number}\n")).collect();
    assert!(whole.ends_with(&kept) && kept.len() > 10_000, "kept {} bytes", kept.len());
}

#[test]
fn a_container_without_a_log_runs() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "100000"]);
    stand.process.log = Log::None;
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(!stand.process.bundle.join("console.log").exists());
}

#[test]
fn a_log_on_a_full_disk_does_not_stop_the_container() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "100000"]);
    stand.process.log = Log::JsonFile { path: "/dev/full".into(), max_size: 0, max_files: 1 };
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(stand.shim_log().contains("100000 records are missing"), "{}", stand.shim_log());
}

/// The record is then in the state directory, before the status is on the FIFO.
#[test]
fn an_exit_on_a_full_disk_is_still_recorded() {
    let mut stand = Stand::new(Engine::Runc, "exit 7");
    let full = SmallDisk::full(stand.root().join("full"));
    stand.process.exit_record = full.path.join("exit");
    stand.start();
    assert_eq!(stand.read_exit(), ExitStatus::Code(7));
    let record = ExitRecord::read(&stand.state.exit_fallback()).unwrap().expect("there is a fallback");
    assert_eq!((record.status, record.cause, record.start), (ExitStatus::Code(7), Cause::Exited, 5));
    stand.wait_hang_up();
    assert_eq!(ExitRecord::read(&stand.state.exit_fallback()).unwrap(), Some(record));
    let names: Vec<_> = std::fs::read_dir(&full.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["filler"], "neither a record nor the beginning of one");
    assert!(stand.shim_log().contains("cannot write the exit record"), "{}", stand.shim_log());
    std::fs::remove_file(stand.state.exit_fallback()).unwrap();
    drop(full);
    stand.assert_clean();
}

#[test]
fn an_oom_kill_is_recorded() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]);
    let limit = 16 * 1024 * 1024;
    stand.spec["linux"]["resources"]["memory"] = json!({"limit": limit, "swap": limit});
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Signal(9));
    let counter = matches!(stand.process.oom, Some(OomCounter::V1 { .. }));
    assert!(counter && stand.record().oom, "{:?}", stand.record());
    stand.assert_clean();
}

#[test]
fn a_long_state_path_works() {
    let mut stand = Stand::new(Engine::Runc, "stty size; read line; echo got $line");
    let long = stand.root().join("x".repeat(120)).join("state");
    std::fs::create_dir_all(&long).unwrap();
    stand.move_state(&long);
    stand.terminal();
    stand.process.open_stdin = true;
    stand.spec["process"]["consoleSize"] = json!({"width": 90, "height": 33});
    stand.process.console_size = Some(isulad_shim::process::ConsoleSize { width: 90, height: 33 });
    stand.start();
    let client = stand.attach();
    crate::stand::send(&client, &isulad_shim::Request::Hello(isulad_shim::control::Streams::ALL));
    crate::stand::send(&client, &isulad_shim::Request::Stdin(b"this\n".to_vec()));
    crate::stand::read_until(&client, "got this");
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(stand.log("stdout").contains("33 90\r\n"));
}

#[test]
fn termination_signals_are_ignored() {
    let mut stand = Stand::new(Engine::Runc, "read line; exit 9");
    stand.process.open_stdin = true;
    let (ready, client) = stand.start_with_client();
    let shim = nix::unistd::Pid::from_raw(ready.shim_pid);
    // The shim starts its session just after its answer.
    let ours = nix::unistd::getsid(None).unwrap();
    crate::stand::wait_for("a session of its own", || nix::unistd::getsid(Some(shim)).unwrap() != ours);
    let pidfd = isulad_shim::sys::pidfd::PidFd::open(ready.shim()).unwrap();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        pidfd.send_signal(signal).unwrap();
    }
    crate::stand::send(&client, &isulad_shim::Request::CloseStdin);
    assert_eq!(stand.exit(), ExitStatus::Code(9));
    assert_eq!(stand.shim_log().matches("ignored").count(), 1, "{}", stand.shim_log());
}

#[test]
fn the_container_inherits_no_descriptor_and_no_signal_setting() {
    let script = "cat /proc/self/status; for fd in /proc/self/fd/*; do echo fd ${fd##*/}; done";
    let mut stand = Stand::new(Engine::Runc, script);
    let (_, client) = stand.start_with_client();
    let text = String::from_utf8(read_all(&client).0).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    // The C library ignores its two internal signals between fork and exec; no program can send them on purpose.
    let internal = 0b11 << 31;
    assert_eq!((field("SigBlk:"), field("SigIgn:") & !internal), (0, 0));
    let fds: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("fd ")).collect();
    assert_eq!(fds[..3], ["0", "1", "2"]);
    assert!(fds.len() <= 4, "{fds:?}"); // The shell has its directory open while it expands.
}

#[test]
fn version_prints_the_version() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_isulad-shim")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("isulad-shim {}\n", isulad_shim::VERSION));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_isulad-shim")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_status_request_during_the_start_gets_the_outcome() {
    let stand = Stand::new(Engine::Runc, "sleep 1000");
    stand.write();
    let state = stand.state.clone();
    let asking = std::thread::spawn(move || {
        crate::stand::wait_for("the attach socket", || state.connect_attach().is_ok());
        let stream = state.connect_attach().unwrap();
        crate::stand::send(&stream, &isulad_shim::Request::Status);
        crate::stand::read_answer(&stream)
    });
    let Ok(Outcome::Ready(ready)) = stand.launch(isulad_shim::sys::spawn::Mode::Run, None) else { panic!() };
    assert_eq!(asking.join().unwrap(), isulad_shim::Frame::Ready(ready));
}
