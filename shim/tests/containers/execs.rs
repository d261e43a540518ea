//! Further processes in a running container, each with a shim of its own.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isulad_shim::control::kind;
use isulad_shim::exec::{EXEC_VERSION, GONE, SPEC};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::process_ref::Stat;
use isulad_shim::sys::spawn;
use isulad_shim::{
    ExecProcess, ExecRecord, ExitStatus, Failed, Frame, ProcessRef, Ready, Request, StateDir, Step, failpoint, pid_file,
};
use serde_json::json;

use crate::stand::{Engine, PATIENCE, Stand, answer, hear, listen, tell, wait_for, wait_readable};

crate::on_both_runtimes!(
    output_is_apart_and_the_code_is_told,
    the_time_of_the_end_is_told,
    ten_mebibytes_come_back_as_they_went,
    what_cannot_be_run_is_told_in_the_runtimes_words,
    a_background_process_holds_nobody_up,
    a_client_that_goes_takes_the_whole_tree_along,
    without_a_go_nothing_is_run,
    what_cannot_be_set_up_is_told_once_it_is_wanted,
    a_large_environment_arrives,
    a_detached_one_lives_on_until_it_is_told_to_go,
    one_that_is_released_goes_on_without_its_client,
    a_terminal_has_a_size_that_changes,
    the_end_of_the_container_ends_it_with_its_true_status,
    a_lost_shim_leaves_the_pid_of_what_lives,
);

pub struct Exec {
    pub directory: StateDir,
    pub client: UnixStream,
    /// What was spawned.
    pid: i32,
}

impl Exec {
    pub fn spawn(stand: &Stand, args: &[&str], change: impl FnOnce(&mut ExecProcess)) -> Self {
        Self::spawn_prepared(stand, args, change, |_| {})
    }

    /// `prepare` finds everything written.
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
        let (client, theirs) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let pid = spawn::start_exec(&stand.shim(), &directory, theirs.as_fd()).unwrap();
        Self { directory, client, pid }
    }

    pub fn go(&self) -> Ready {
        tell(&self.client, &Request::Go);
        match answer(&self.client) {
            Frame::Ready(ready) => ready,
            other => panic!("not started: {other:?}\n{}", self.log()),
        }
    }

    fn fails(&self) -> Failed {
        tell(&self.client, &Request::Go);
        match answer(&self.client) {
            Frame::Failed(failed) => failed,
            other => panic!("not a failure: {other:?}"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.file("shim.log")).unwrap_or_default()
    }

    pub fn reap(&self) {
        let pidfd = PidFd::open(ProcessRef::of(self.pid).unwrap()).unwrap();
        assert!(wait_readable(&pidfd), "the shim does not leave\n{}", self.log());
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(self.pid), None).unwrap();
    }

    pub fn record(&self) -> ExecRecord {
        wait_for("the exit record", || self.directory.exit_fallback().exists());
        ExecRecord::read(&self.directory).unwrap().unwrap()
    }
}

pub fn stand(engine: Engine) -> Stand {
    let stand = Stand::new(engine, "sleep 10000 & wait");
    stand.start();
    stand
}

fn run(stand: &Stand, script: &str) -> Exec {
    Exec::spawn(stand, &["/bin/sh", "-c", script], |_| {})
}

fn output_is_apart_and_the_code_is_told(engine: Engine) {
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
        assert_eq!(listen(&exec.client), (out.into(), err.into(), Some(status)), "{script}");
        exec.reap();
        assert_eq!((exec.record().status, exec.record().failed), (status, None));
        assert_eq!(exec.log(), "");
    }
}

/// Whenever a client hears of it.
fn the_time_of_the_end_is_told(engine: Engine) {
    let stand = stand(engine);
    let exec = run(&stand, "exit 7");
    exec.go();
    let at = exec.record().at;
    let told = std::iter::from_fn(|| Frame::read_from(&exec.client).unwrap()).last();
    assert_eq!(told, Some(Frame::Exit(ExitStatus::Code(7), Some(at))));
    exec.reap();
}

fn ten_mebibytes_come_back_as_they_went(engine: Engine) {
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
    let (out, _, status) = listen(&exec.client);
    writer.join().unwrap();
    assert_eq!(status, Some(ExitStatus::Code(0)));
    assert!(out == bytes, "{} bytes came back", out.len());
    exec.reap();
}

fn what_cannot_be_run_is_told_in_the_runtimes_words(engine: Engine) {
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

fn a_background_process_holds_nobody_up(engine: Engine) {
    let stand = stand(engine);
    wait_for("both of the container's own", || stand.processes() == 2);
    let exec = run(&stand, "echo before; sleep 1000 & exit 4");
    exec.go();
    assert_eq!(listen(&exec.client), (b"before\n".to_vec(), vec![], Some(ExitStatus::Code(4))));
    assert_eq!(stand.processes(), 3, "it has the output open still");
    exec.reap();
    // One that never stops writing is not listened to for ever, and costs nobody the status.
    let exec = run(&stand, "yes & exit 5");
    exec.go();
    assert_eq!(listen(&exec.client).2, Some(ExitStatus::Code(5)));
    exec.reap();
}

fn a_client_that_goes_takes_the_whole_tree_along(engine: Engine) {
    let stand = stand(engine);
    let exec = run(&stand, "sleep 1000 & (sleep 1001 & sleep 1002) & echo started; wait");
    let ready = exec.go();
    hear(&exec.client, "started");
    let session = Stat::read(ready.pid).unwrap().session;
    wait_for("all processes", || members(session).len() == 4);
    exec.client.shutdown(std::net::Shutdown::Both).unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Signal(9));
    assert_eq!(members(session), Vec::<i32>::new());
}

/// Living processes of the session.
fn members(session: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| Stat::read(*pid).is_ok_and(|stat| stat.session == session && stat.state != b'Z')).collect()
}

fn what_cannot_be_set_up_is_told_once_it_is_wanted(engine: Engine) {
    let stand = stand(engine);
    for wanted in [true, false] {
        let exec = Exec::spawn_prepared(
            &stand,
            &["/bin/true"],
            |_| {},
            |directory| {
                // In the way of the first thing that it writes.
                fs::create_dir(directory.file("shim-pid.new")).unwrap();
            },
        );
        if wanted {
            let failed = exec.fails();
            assert_eq!((failed.step, failed.runtime_status), (Step::Setup, None));
            assert!(failed.message.contains("shim-pid"), "{failed:?}");
            exec.reap();
            assert_eq!(exec.record().failed, Some(failed));
        } else {
            exec.client.shutdown(std::net::Shutdown::Both).unwrap();
            exec.reap();
            assert!(!exec.directory.exit_fallback().exists(), "it was nobody's");
        }
    }
}

fn without_a_go_nothing_is_run(engine: Engine) {
    let stand = stand(engine);
    // Whoever hangs up, or kills the shim: the runtime that waits goes too.
    for (detached, kills) in [(false, false), (false, true), (true, false), (true, true)] {
        let exec = Exec::spawn(&stand, &["/bin/sh", "-c", "echo > /tmp/run"], |process| process.detached = detached);
        tell(&exec.client, &Request::CloseStdin);
        wait_for("the shim", || exec.directory.shim_pid().exists());
        let shim = pid_file::read(&exec.directory.shim_pid()).unwrap().unwrap();
        wait_for("the runtime", || child_of(shim.pid).is_some_and(waits_for_its_process));
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
        assert!(!exec.directory.exit_fallback().exists() && !exec.directory.file(GONE).exists());
    }
}

/// The runtime has opened what `--process` names, which is the pipe that the shim writes to, and sleeps. A program that
/// only becomes the runtime has it from the shim alone.
fn waits_for_its_process(pid: i32) -> bool {
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

/// More than a pipe holds at once.
fn a_large_environment_arrives(engine: Engine) {
    let stand = stand(engine);
    let exec = Exec::spawn(&stand, &["sh", "-c", "echo ${#A} ${#B}"], |_| {});
    let mut spec = stand.spec["process"].clone();
    spec["args"] = json!(["sh", "-c", "echo ${#A} ${#B}"]);
    let (a, b) = ("a".repeat(100_000), "b".repeat(100_000));
    spec["env"] = json!(["PATH=/bin", format!("A={a}"), format!("B={b}")]);
    fs::write(exec.directory.file(SPEC), spec.to_string()).unwrap();
    exec.go();
    assert_eq!(listen(&exec.client), (b"100000 100000\n".to_vec(), vec![], Some(ExitStatus::Code(0))));
    exec.reap();
}

/// Writes, and shows that it runs, until it is stopped.
const BEATS: &str = "while [ ! -e /tmp/stop ]; do sleep 0.01; echo x; echo > /tmp/beat; done; exit 6";

/// Leaves, and waits until the shim has let go of the connection: what follows from that has begun.
fn hang_up(mut client: &UnixStream) {
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
}

fn beats_on(stand: &Stand) {
    let beat = stand.in_root("tmp/beat");
    for _ in 0..5 {
        let _ = fs::remove_file(&beat);
        wait_for("the process to go on", || beat.exists());
    }
}

fn a_detached_one_lives_on_until_it_is_told_to_go(engine: Engine) {
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
        beats_on(&stand);
        assert!(process.alive() && shim.alive());
        PidFd::open(shim).unwrap().send_signal(libc::SIGTERM).unwrap();
        wait_for("the end", || !process.alive() && !shim.alive());
        assert_eq!(ExecRecord::read(&exec.directory).unwrap().unwrap().status, ExitStatus::Signal(9));
    }
}

fn one_that_is_released_goes_on_without_its_client(engine: Engine) {
    let stand = stand(engine);
    let exec = run(&stand, BEATS);
    let ready = exec.go();
    tell(&exec.client, &Request::Release);
    assert_eq!(answer(&exec.client), Frame::Ack(kind::RELEASE));
    hang_up(&exec.client);
    beats_on(&stand);
    assert!(ready.process().alive());
    fs::write(stand.in_root("tmp/stop"), "").unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Code(6));
}

fn a_terminal_has_a_size_that_changes(engine: Engine) {
    let stand = stand(engine);
    // crun takes no size for a further process: there it comes a moment later.
    let script = "until [ \"$(stty size)\" = '33 77' ]; do :; done; stty size; read line; stty size; exit 3";
    let exec = Exec::spawn(&stand, &["/bin/sh", "-c", script], |process| {
        process.terminal = true;
        process.open_stdin = true;
        process.console_size = Some(isulad_shim::process::ConsoleSize { width: 77, height: 33 });
    });
    exec.go();
    hear(&exec.client, "33 77");
    tell(&exec.client, &Request::Resize { width: 200, height: 50 });
    assert_eq!(answer(&exec.client), Frame::Ack(kind::RESIZE));
    tell(&exec.client, &Request::Stdin(b"\n".to_vec()));
    hear(&exec.client, "50 200");
    assert_eq!(listen(&exec.client).2, Some(ExitStatus::Code(3)));
    exec.reap();
}

fn the_end_of_the_container_ends_it_with_its_true_status(engine: Engine) {
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
        assert_eq!(listen(&exec.client).2, Some(ExitStatus::Signal(9)), "shared: {shared}");
        exec.reap();
        stand.exit();
    }
}

fn a_lost_shim_leaves_the_pid_of_what_lives(engine: Engine) {
    let mut stand = stand(engine);
    for name in failpoint::OF_EXEC {
        stand.fail_at(name);
        let exec = run(&stand, "read line < /tmp/none || exit 1");
        // It may be gone before.
        let _ = Request::Go.write_to(&exec.client);
        while let Ok(Some(_)) = Frame::read_from(&exec.client) {}
        exec.reap();
        let recorded = ExecRecord::read(&exec.directory).unwrap().is_some();
        assert_eq!(recorded, name == failpoint::EXEC_RECORDED, "{name}");
        let launched = || exec.directory.file("runtime.pid").exists();
        if name == failpoint::EXEC_TOLD_RUNTIME {
            // It goes on without its shim, and can be found.
            assert!(pid_file::read(&exec.directory.file(GONE)).unwrap().is_some());
            wait_for("the runtime", launched);
        }
        let early = [failpoint::EXEC_SHIM_PID, failpoint::EXEC_BEFORE_RUNTIME].contains(&name);
        assert_eq!(launched(), !early, "{name}");
    }
}

#[test]
fn a_slow_reader_is_waited_for() {
    let stand = stand(Engine::Runc);
    let exec = Exec::spawn(&stand, &["/bin/seq", "1", "300000"], |_| {});
    let pid = exec.go().pid;
    // Blocked for longer than any client of a container may be silent with a full buffer.
    let written = || fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let (mut last, mut since) = (String::new(), Instant::now());
    wait_for("a process that is held up", || {
        let now = written();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(5_500)
    });
    let (out, _, status) = listen(&exec.client);
    assert_eq!(status, Some(ExitStatus::Code(0)));
    assert_eq!(out.len(), (1..=300_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>());
    exec.reap();
}

#[test]
fn a_runtime_that_hangs_is_killed_and_what_a_client_gave_up_on_too() {
    let mut stand = stand(Engine::Runc);
    stand.process.runtime.path = crate::stand::script(&stand.root().join("runtime"), "sleep 1000 & sleep 1001");
    let exec = Exec::spawn(&stand, &["/bin/true"], |process| process.runtime_deadline_ms = 200);
    assert!(exec.fails().message.contains("did not finish `exec` within 0.2 s and was killed"));
    exec.reap();
    let exec = run(&stand, "true");
    tell(&exec.client, &Request::Go);
    let shim = ProcessRef::of(exec.pid).unwrap();
    let below = || {
        let children = format!("/proc/{0}/task/{0}/children", shim.pid);
        fs::read_to_string(children).unwrap_or_default().split_whitespace().count()
    };
    // From then on the shim waits for the runtime's end, which alone was started before.
    wait_for("the order to be obeyed", || exec.directory.file(GONE).exists() && below() == 1);
    exec.client.shutdown(std::net::Shutdown::Both).unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Unknown);
    stand.process.runtime.path = "/usr/sbin/runc".into();
}

#[test]
fn a_broken_description_is_answered() {
    let stand = stand(Engine::Runc);
    let exec = Exec::spawn(&stand, &["/bin/true"], |process| process.version = 9);
    assert_eq!(exec.fails().step, Step::Setup);
    exec.reap();
}
