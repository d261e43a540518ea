//! Further processes in a running container, each with a shim of its own.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isulad_shim::control::kind;
use isulad_shim::exec::{EXEC_VERSION, GO_MARKER, SPEC};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::process_ref::Stat;
use isulad_shim::sys::spawn;
use isulad_shim::{
    ExecProcess, ExecRecord, ExitStatus, Failed, Frame, ProcessRef, Ready, Request, StateDir, Step, failpoint, pid_file,
};
use serde_json::json;

use crate::stand::{Engine, PATIENCE, Stand, read_all, read_answer, read_until, send, wait_for, wait_readable};

crate::on_both_runtimes!(
    streams_are_separate_and_the_status_is_sent,
    the_exit_frame_has_the_time_of_the_record,
    ten_mebibytes_are_echoed_unchanged,
    a_command_that_cannot_run_fails_with_the_runtimes_message,
    a_background_process_does_not_delay_the_exit,
    a_hang_up_kills_the_whole_process_tree,
    nothing_runs_without_go,
    a_setup_failure_is_reported_only_after_go,
    a_large_environment_is_passed,
    a_detached_exec_lives_until_sigterm,
    a_released_exec_outlives_its_client,
    an_exec_terminal_can_be_resized,
    the_end_of_the_container_ends_an_exec_with_its_true_status,
    a_lost_shim_leaves_the_pid_of_a_living_process,
);

pub(crate) struct Exec {
    pub directory: StateDir,
    pub client: UnixStream,
    /// The process started by `start_exec`.
    pid: i32,
}

impl Exec {
    pub(crate) fn spawn(stand: &Stand, args: &[&str], change: impl FnOnce(&mut ExecProcess)) -> Self {
        Self::spawn_prepared(stand, args, change, |_| {})
    }

    /// `prepare` runs when all files are written, before the shim starts.
    fn spawn_prepared(
        stand: &Stand,
        args: &[&str],
        change: impl FnOnce(&mut ExecProcess),
        prepare: impl FnOnce(&StateDir),
    ) -> Self {
        let number = fs::read_dir(stand.root()).unwrap().count();
        let directory = StateDir::new(stand.root().join(format!("exec-{number}")));
        fs::create_dir(directory.path()).unwrap();
        let mut process = ExecProcess {
            version: EXEC_VERSION,
            id: stand.process.id.clone(),
            runtime: stand.process.runtime.clone(),
            runtime_root: stand.process.runtime_root.clone(),
            systemd_cgroup: false,
            runtime_deadline_ms: 60_000,
            terminal: false,
            console_size: None,
            open_stdin: false,
            detached: false,
            cgroup_procs: vec![],
        };
        change(&mut process);
        let mut spec = stand.spec["process"].clone();
        spec["args"] = json!(args);
        spec["terminal"] = json!(process.terminal);
        if let Some(size) = process.console_size {
            spec["consoleSize"] = json!({"width": size.width, "height": size.height});
        }
        fs::write(directory.file(SPEC), spec.to_string()).unwrap();
        process.write(&directory).unwrap();
        prepare(&directory);
        let (client, shim_end) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let pid = spawn::start_exec(&stand.shim(), &directory, shim_end.as_fd()).unwrap();
        Self { directory, client, pid }
    }

    pub(crate) fn go(&self) -> Ready {
        send(&self.client, &Request::Go);
        match read_answer(&self.client) {
            Frame::Ready(ready) => ready,
            other => panic!("not started: {other:?}\n{}", self.log()),
        }
    }

    fn fails(&self) -> Failed {
        send(&self.client, &Request::Go);
        match read_answer(&self.client) {
            Frame::Failed(failed) => failed,
            other => panic!("not a failure: {other:?}"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.file("shim.log")).unwrap_or_default()
    }

    pub(crate) fn reap(&self) {
        let pidfd = PidFd::open(ProcessRef::of(self.pid).unwrap()).unwrap();
        assert!(wait_readable(&pidfd), "the shim does not leave\n{}", self.log());
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(self.pid), None).unwrap();
    }

    pub(crate) fn record(&self) -> ExecRecord {
        wait_for("the exit record", || self.directory.exit_fallback().exists());
        ExecRecord::read(&self.directory).unwrap().unwrap()
    }
}

pub(crate) fn stand(engine: Engine) -> Stand {
    let stand = Stand::new(engine, "sleep 10000 & wait");
    stand.start();
    stand
}

fn run(stand: &Stand, script: &str) -> Exec {
    Exec::spawn(stand, &["/bin/sh", "-c", script], |_| {})
}

fn streams_are_separate_and_the_status_is_sent(engine: Engine) {
    let stand = stand(engine);
    for (script, out, err, status) in [
        ("echo out; echo err >&2; exit 7", "out\n", "err\n", ExitStatus::Code(7)),
        ("true", "", "", ExitStatus::Code(0)),
        ("kill -9 $$", "", "", ExitStatus::Signal(9)),
        ("cat", "", "", ExitStatus::Code(0)),
    ] {
        let exec = run(&stand, script);
        let ready = exec.go();
        assert_eq!(ready.shim_pid, exec.pid);
        assert_eq!(read_all(&exec.client), (out.into(), err.into(), Some(status)), "{script}");
        exec.reap();
        assert_eq!((exec.record().status, exec.record().failed), (status, None));
        assert_eq!(exec.log(), "");
    }
}

/// The time in the frame is that of the record, whenever a client reads it.
fn the_exit_frame_has_the_time_of_the_record(engine: Engine) {
    let stand = stand(engine);
    let exec = run(&stand, "exit 7");
    exec.go();
    let at = exec.record().at;
    let last = std::iter::from_fn(|| Frame::read_from(&exec.client).unwrap()).last();
    assert_eq!(last, Some(Frame::Exit(ExitStatus::Code(7), Some(at))));
    exec.reap();
}

fn ten_mebibytes_are_echoed_unchanged(engine: Engine) {
    let stand = stand(engine);
    let exec = Exec::spawn(&stand, &["/bin/cat"], |process| process.open_stdin = true);
    exec.go();
    let bytes: Vec<u8> = (0..10_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let writer = {
        let (mut client, mut frames) = (exec.client.try_clone().unwrap(), Vec::new());
        Request::Stdin(bytes.clone()).encode(&mut frames);
        Request::CloseStdin.encode(&mut frames);
        std::thread::spawn(move || client.write_all(&frames).unwrap())
    };
    let (out, _, status) = read_all(&exec.client);
    writer.join().unwrap();
    assert_eq!(status, Some(ExitStatus::Code(0)));
    assert!(out == bytes, "{} bytes came back", out.len());
    exec.reap();
}

fn a_command_that_cannot_run_fails_with_the_runtimes_message(engine: Engine) {
    let stand = stand(engine);
    for (args, detached, terminal, words) in [
        (["no-such-command"], false, false, ["not found", "No such file"]),
        (["no-such-command"], true, false, ["not found", "No such file"]),
        (["no-such-command"], false, true, ["not found", "No such file"]),
        (["/tmp"], false, false, ["ermission denied", "not permitted"]),
    ] {
        let exec = Exec::spawn(&stand, &args, |process| {
            process.detached = detached;
            process.terminal = terminal;
        });
        let failed = exec.fails();
        assert_eq!(failed.step, Step::Exec);
        assert!(words.iter().any(|words| failed.message.contains(words)), "{failed:?}");
        assert!(failed.runtime_status.is_some(), "{failed:?}");
        exec.reap();
        assert_eq!(exec.record().failed, Some(failed));
    }
}

fn a_background_process_does_not_delay_the_exit(engine: Engine) {
    let stand = stand(engine);
    wait_for("both of the container's own", || stand.processes() == 2);
    let exec = run(&stand, "echo before; sleep 1000 & exit 4");
    exec.go();
    assert_eq!(read_all(&exec.client), (b"before\n".to_vec(), vec![], Some(ExitStatus::Code(4))));
    assert_eq!(stand.processes(), 3, "it has the output open still");
    exec.reap();
    // A writer without end is not read for ever, and does not keep the status from the client.
    let exec = run(&stand, "yes & exit 5");
    exec.go();
    assert_eq!(read_all(&exec.client).2, Some(ExitStatus::Code(5)));
    exec.reap();
}

fn a_hang_up_kills_the_whole_process_tree(engine: Engine) {
    let stand = stand(engine);
    let exec = run(&stand, "sleep 1000 & (sleep 1001 & sleep 1002) & echo started; wait");
    let ready = exec.go();
    read_until(&exec.client, "started");
    let session = Stat::read(ready.pid).unwrap().session;
    wait_for("all processes", || members(session).len() == 4);
    exec.client.shutdown(std::net::Shutdown::Both).unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Signal(9));
    assert_eq!(members(session), Vec::<i32>::new());
}

/// Pids of the session, without zombies.
fn members(session: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| Stat::read(*pid).is_ok_and(|stat| stat.session == session && stat.state != b'Z')).collect()
}

fn a_setup_failure_is_reported_only_after_go(engine: Engine) {
    let stand = stand(engine);
    for started in [true, false] {
        let exec = Exec::spawn_prepared(
            &stand,
            &["/bin/true"],
            |_| {},
            |directory| {
                // Blocks the first write of the shim.
                fs::create_dir(directory.file("shim-pid.new")).unwrap();
            },
        );
        if started {
            let failed = exec.fails();
            assert_eq!((failed.step, failed.runtime_status), (Step::Setup, None));
            assert!(failed.message.contains("shim-pid"), "{failed:?}");
            exec.reap();
            assert_eq!(exec.record().failed, Some(failed));
        } else {
            exec.client.shutdown(std::net::Shutdown::Both).unwrap();
            exec.reap();
            assert!(!exec.directory.exit_fallback().exists(), "a cancelled exec has no record");
        }
    }
}

fn nothing_runs_without_go(engine: Engine) {
    let stand = stand(engine);
    // Whether the client hangs up or the shim is killed: the waiting runtime ends too.
    for (detached, kills) in [(false, false), (false, true), (true, false), (true, true)] {
        let exec = Exec::spawn(&stand, &["/bin/sh", "-c", "echo > /tmp/run"], |process| process.detached = detached);
        send(&exec.client, &Request::CloseStdin);
        wait_for("the shim", || exec.directory.shim_pid().exists());
        let shim = pid_file::read(&exec.directory.shim_pid()).unwrap().unwrap();
        wait_for("the runtime", || child_of(shim.pid).is_some_and(waits_for_spec));
        let runtime = PidFd::open(ProcessRef::of(child_of(shim.pid).unwrap()).unwrap()).unwrap();
        if kills {
            PidFd::open(shim).unwrap().send_signal(9).unwrap();
        } else {
            exec.client.shutdown(std::net::Shutdown::Both).unwrap();
        }
        exec.reap();
        wait_for("the shim's end", || !shim.alive());
        assert!(wait_readable(&runtime), "the runtime stays");
        assert!(!stand.in_root("tmp/run").exists());
        assert!(!exec.directory.exit_fallback().exists() && !exec.directory.file(GO_MARKER).exists());
    }
}

/// Whether the runtime has opened the file of `--process`, which is the pipe the shim writes to, and sleeps. A program
/// that has not yet become the runtime has the pipe only under the number the shim passed.
fn waits_for_spec(pid: i32) -> bool {
    let target = |fd: &Path| fs::read_link(fd).ok();
    let given = PathBuf::from(format!("/proc/{pid}/fd/3"));
    let Some(pipe) = target(&given).filter(|pipe| pipe.to_string_lossy().starts_with("pipe:")) else { return false };
    let mut others = fs::read_dir(given.with_file_name("")).into_iter().flatten().flatten().map(|entry| entry.path());
    let opened = others.any(|other| other != given && target(&other).as_ref() == Some(&pipe));
    opened && Stat::read(pid).is_ok_and(|stat| stat.state == b'S')
}

fn child_of(pid: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Larger than a pipe's buffer.
fn a_large_environment_is_passed(engine: Engine) {
    let stand = stand(engine);
    let exec = Exec::spawn(&stand, &["sh", "-c", "echo ${#A} ${#B}"], |_| {});
    let mut spec = stand.spec["process"].clone();
    spec["args"] = json!(["sh", "-c", "echo ${#A} ${#B}"]);
    let (a, b) = ("a".repeat(100_000), "b".repeat(100_000));
    spec["env"] = json!(["PATH=/bin", format!("A={a}"), format!("B={b}")]);
    fs::write(exec.directory.file(SPEC), spec.to_string()).unwrap();
    exec.go();
    assert_eq!(read_all(&exec.client), (b"100000 100000\n".to_vec(), vec![], Some(ExitStatus::Code(0))));
    exec.reap();
}

/// Writes, and shows that it runs, until it is stopped.
const BEATS: &str = "while [ ! -e /tmp/stop ]; do sleep 0.01; echo x; echo > /tmp/beat; done; exit 6";

/// Hangs up, and waits until the shim has closed the connection and so begun with the consequences.
fn hang_up(mut client: &UnixStream) {
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
}

fn assert_beats(stand: &Stand) {
    let beat = stand.in_root("tmp/beat");
    for _ in 0..5 {
        let _ = fs::remove_file(&beat);
        wait_for("the process to go on", || beat.exists());
    }
}

fn a_detached_exec_lives_until_sigterm(engine: Engine) {
    let stand = stand(engine);
    for terminal in [false, true] {
        let exec = Exec::spawn(&stand, &["/bin/sh", "-c", BEATS], |process| {
            process.detached = true;
            process.terminal = terminal;
        });
        exec.reap();
        let ready = exec.go();
        let (process, shim) = (ready.process(), ready.shim());
        assert_eq!(pid_file::read(&exec.directory.pid()).unwrap(), Some(process));
        assert_eq!(pid_file::read(&exec.directory.shim_pid()).unwrap(), Some(shim));
        hang_up(&exec.client);
        assert_beats(&stand);
        assert!(process.alive() && shim.alive());
        PidFd::open(shim).unwrap().send_signal(libc::SIGTERM).unwrap();
        wait_for("the end", || !process.alive() && !shim.alive());
        assert_eq!(ExecRecord::read(&exec.directory).unwrap().unwrap().status, ExitStatus::Signal(9));
    }
}

fn a_released_exec_outlives_its_client(engine: Engine) {
    let stand = stand(engine);
    let exec = run(&stand, BEATS);
    let ready = exec.go();
    send(&exec.client, &Request::Release);
    assert_eq!(read_answer(&exec.client), Frame::Ack(kind::RELEASE));
    hang_up(&exec.client);
    assert_beats(&stand);
    assert!(ready.process().alive());
    fs::write(stand.in_root("tmp/stop"), "").unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Code(6));
}

fn an_exec_terminal_can_be_resized(engine: Engine) {
    let stand = stand(engine);
    // crun does not set the size of an exec at its start: the shim sets it a moment later.
    let script = "until [ \"$(stty size)\" = '33 77' ]; do :; done; stty size; read line; stty size; exit 3";
    let exec = Exec::spawn(&stand, &["/bin/sh", "-c", script], |process| {
        process.terminal = true;
        process.open_stdin = true;
        process.console_size = Some(isulad_shim::process::ConsoleSize { width: 77, height: 33 });
    });
    exec.go();
    read_until(&exec.client, "33 77");
    send(&exec.client, &Request::Resize { width: 200, height: 50 });
    assert_eq!(read_answer(&exec.client), Frame::Ack(kind::RESIZE));
    send(&exec.client, &Request::Stdin(b"\n".to_vec()));
    read_until(&exec.client, "50 200");
    assert_eq!(read_all(&exec.client).2, Some(ExitStatus::Code(3)));
    exec.reap();
}

fn the_end_of_the_container_ends_an_exec_with_its_true_status(engine: Engine) {
    for shared in [false, true] {
        let mut stand = Stand::new(engine, "sleep 10000 & wait");
        if shared {
            stand.share_pid_namespace();
        }
        let ready = stand.start();
        let exec = run(&stand, "sleep 1000");
        exec.go();
        let first = ProcessRef { pid: ready.pid, start_time: ready.pid_start };
        PidFd::open(first).unwrap().send_signal(libc::SIGKILL).unwrap();
        assert_eq!(read_all(&exec.client).2, Some(ExitStatus::Signal(9)), "shared: {shared}");
        exec.reap();
        stand.exit();
    }
}

fn a_lost_shim_leaves_the_pid_of_a_living_process(engine: Engine) {
    let mut stand = stand(engine);
    for name in failpoint::ALL_EXEC {
        stand.fail_at(name);
        let exec = run(&stand, "read line < /tmp/none || exit 1");
        // The shim may have died before.
        let _ = Request::Go.write_to(&exec.client);
        while let Ok(Some(_)) = Frame::read_from(&exec.client) {}
        exec.reap();
        let recorded = ExecRecord::read(&exec.directory).unwrap().is_some();
        assert_eq!(recorded, name == failpoint::EXEC_RECORDED, "{name}");
        let launched = || exec.directory.file("runtime.pid").exists();
        if name == failpoint::EXEC_SPEC_WRITTEN {
            // The runtime goes on without its shim, and can be found by the marker.
            assert!(pid_file::read(&exec.directory.file(GO_MARKER)).unwrap().is_some());
            wait_for("the runtime", launched);
        }
        let early = [failpoint::EXEC_SHIM_PID, failpoint::EXEC_BEFORE_RUNTIME].contains(&name);
        assert_eq!(launched(), !early, "{name}");
    }
}

#[test]
fn an_exec_waits_for_a_slow_reader() {
    let stand = stand(Engine::Runc);
    let exec = Exec::spawn(&stand, &["/bin/seq", "1", "300000"], |_| {});
    let pid = exec.go().pid;
    // Blocked for longer than a container's client may be silent with a full buffer.
    let written = || fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let (mut last, mut since) = (String::new(), Instant::now());
    wait_for("a process that is held up", || {
        let now = written();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(5_500)
    });
    let (out, _, status) = read_all(&exec.client);
    assert_eq!(status, Some(ExitStatus::Code(0)));
    assert_eq!(out.len(), (1..=300_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>());
    exec.reap();
}

#[test]
fn a_hanging_runtime_is_killed_at_its_deadline_or_at_a_hang_up() {
    let mut stand = stand(Engine::Runc);
    stand.process.runtime.path = crate::stand::script(&stand.root().join("runtime"), "sleep 1000 & sleep 1001");
    let exec = Exec::spawn(&stand, &["/bin/true"], |process| process.runtime_deadline_ms = 200);
    assert!(exec.fails().message.contains("did not finish `exec` within 0.2 s and was killed"));
    exec.reap();
    let exec = run(&stand, "true");
    send(&exec.client, &Request::Go);
    let shim = ProcessRef::of(exec.pid).unwrap();
    let below = || {
        let children = format!("/proc/{0}/task/{0}/children", shim.pid);
        fs::read_to_string(children).unwrap_or_default().split_whitespace().count()
    };
    // From then on the shim waits for the end of the runtime, its only child.
    wait_for("the spec to be passed", || exec.directory.file(GO_MARKER).exists() && below() == 1);
    exec.client.shutdown(std::net::Shutdown::Both).unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Unknown);
    stand.process.runtime.path = "/usr/sbin/runc".into();
}

#[test]
fn an_unknown_description_version_fails_the_setup() {
    let stand = stand(Engine::Runc);
    let exec = Exec::spawn(&stand, &["/bin/true"], |process| process.version = 9);
    assert_eq!(exec.fails().step, Step::Setup);
    exec.reap();
}
