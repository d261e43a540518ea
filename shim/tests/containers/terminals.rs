//! Terminals that no process has open for a while, and terminals without a reader of their input.

use isulad_shim::control::kind;
use isulad_shim::process::ConsoleSize;
use isulad_shim::{ExitStatus, Frame, Ready, Request};

use crate::execs::{self, Exec};
use crate::stand::{Engine, Stand, read_all, read_answer, read_until, send, wait_for};

crate::on_both_runtimes!(
    a_reopened_terminal_is_served,
    a_reopened_terminal_of_an_exec_is_served,
    unread_input_does_not_delay_a_resize,
    unread_input_does_not_delay_a_release,
    input_that_is_read_late_is_complete,
);

/// Closes the terminal and opens it again by its name. Each FIFO is for one step: a reader that opens a FIFO again may
/// still find the writer of the step before, and continue at its end.
const REOPENS: &str = "tty=$(readlink /proc/self/fd/0); echo first; exec </dev/null >/dev/null 2>&1
read go </tmp/go; echo second >$tty; read go </tmp/on; exec <$tty >$tty 2>&1; stty -echo; echo third
read line; echo \"<$line>\"; exit 4";

/// How often the process has waited: a busy loop does not.
fn wait_count(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// Waits until the terminal is closed and the shim has polled it a few times.
fn wait_until_closed(ready: &Ready) {
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", ready.pid)).unwrap().flatten();
    let has_terminal = || fds().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|it| it.starts_with("/dev/pts")));
    wait_for("the terminal to be closed", || !has_terminal());
    let before = wait_count(ready.shim_pid);
    wait_for("the shim to poll, and to wait in between", || wait_count(ready.shim_pid) >= before + 6);
}

fn make_fifos(stand: &mut Stand) {
    ["tmp/go", "tmp/on"].iter().for_each(|name| stand.make_fifo(name));
}

fn serves_a_reopened_terminal(stand: &Stand, ready: &Ready, client: &std::os::unix::net::UnixStream) {
    read_until(client, "first\r\n");
    wait_until_closed(ready);
    // Input for a closed terminal is kept until a process opens it.
    send(client, &Request::Stdin(b"wo".to_vec()));
    stand.release("tmp/go");
    read_until(client, "second\r\n");
    wait_until_closed(ready);
    stand.release("tmp/on");
    read_until(client, "third\r\n");
    send(client, &Request::Stdin(b"rd\n".to_vec()));
    let (out, _, exit) = read_all(client);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("rd>\r\n"), "{out:?}");
    assert_eq!(exit, Some(ExitStatus::Code(4)));
}

fn a_reopened_terminal_is_served(engine: Engine) {
    let mut stand = Stand::new(engine, REOPENS);
    stand.terminal();
    stand.process.open_stdin = true;
    make_fifos(&mut stand);
    let (ready, client) = stand.start_with_client();
    serves_a_reopened_terminal(&stand, &ready, &client);
    assert_eq!(stand.exit(), ExitStatus::Code(4));
    let log = stand.log("stdout");
    assert!(["first\r\n", "second\r\n", "third\r\n", "rd>\r\n"].iter().all(|line| log.contains(line)), "{log:?}");
    stand.assert_clean();
}

fn a_reopened_terminal_of_an_exec_is_served(engine: Engine) {
    let mut stand = Stand::new(engine, "sleep 10000 & wait");
    make_fifos(&mut stand);
    stand.start();
    let exec = spawn_with_terminal(&stand, REOPENS);
    let ready = exec.go();
    serves_a_reopened_terminal(&stand, &ready, &exec.client);
    exec.reap();
}

fn spawn_with_terminal(stand: &Stand, script: &str) -> Exec {
    Exec::spawn(stand, &["/bin/sh", "-c", script], |process| {
        process.terminal = true;
        process.open_stdin = true;
        process.console_size = Some(ConsoleSize { width: 77, height: 33 });
    })
}

/// A program that never reads and prints each new size.
const NEVER_READS: &str =
    "stty raw -echo; trap 'stty size' WINCH; echo ready; while [ ! -e /tmp/stop ]; do sleep 0.01; done";

/// More than all buffers on the way hold.
fn send_too_much_input(client: &std::os::unix::net::UnixStream) {
    let line = [b'x'; 64 * 1024];
    (0..48).for_each(|_| send(client, &Request::Stdin(line.to_vec())));
}

fn unread_input_does_not_delay_a_resize(engine: Engine) {
    let mut stand = Stand::new(engine, NEVER_READS);
    stand.terminal();
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    read_until(&client, "ready");
    send_too_much_input(&client);
    send(&client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(read_answer(&client), Frame::Ack(kind::RESIZE));
    read_until(&client, "37 101");
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    stand.assert_clean();
}

fn unread_input_does_not_delay_a_release(engine: Engine) {
    let stand = execs::stand(engine);
    let exec = spawn_with_terminal(&stand, &format!("{NEVER_READS}; exit 6"));
    let ready = exec.go();
    read_until(&exec.client, "ready");
    send_too_much_input(&exec.client);
    send(&exec.client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(read_answer(&exec.client), Frame::Ack(kind::RESIZE));
    send(&exec.client, &Request::Release);
    assert_eq!(read_answer(&exec.client), Frame::Ack(kind::RELEASE));
    exec.client.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(ready.process().alive());
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Code(6));
}

/// Input for which there is room waits without a limit.
fn input_that_is_read_late_is_complete(engine: Engine) {
    let mut stand = Stand::new(engine, "stty raw -echo; echo ready; read go </tmp/go; head -c 600000 >/tmp/typed");
    stand.terminal();
    stand.process.open_stdin = true;
    stand.make_fifo("tmp/go");
    let (_, client) = stand.start_with_client();
    read_until(&client, "ready");
    let typed: Vec<u8> = (0..150_000_u32).flat_map(u32::to_le_bytes).collect();
    typed.chunks(64 * 1024).for_each(|chunk| send(&client, &Request::Stdin(chunk.to_vec())));
    // The answer proves that the shim has all input.
    send(&client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(read_answer(&client), Frame::Ack(kind::RESIZE));
    stand.release("tmp/go");
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(std::fs::read(stand.in_root("tmp/typed")).unwrap() == typed);
    stand.assert_clean();
}
