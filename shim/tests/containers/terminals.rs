//! Terminals that nobody has open for a while, and those whose input nobody reads.

use isulad_shim::control::kind;
use isulad_shim::process::ConsoleSize;
use isulad_shim::{ExitStatus, Frame, Ready, Request};

use crate::execs::{self, Exec};
use crate::stand::{Engine, Stand, answer, hear, listen, tell, wait_for};

crate::on_both_runtimes!(
    a_terminal_that_is_opened_again_goes_on,
    so_does_that_of_a_further_process,
    input_that_nobody_reads_holds_up_no_size,
    nor_does_it_hold_up_a_client_that_leaves,
    what_is_read_late_is_read_whole,
);

/// Lets the terminal go, and takes it again by its name when it is told to. Each FIFO is for one word: who opens one again
/// may find it still open for the word before, and goes on at its end.
const AWAY: &str = "tty=$(readlink /proc/self/fd/0); echo first; exec </dev/null >/dev/null 2>&1
read go </tmp/go; echo second >$tty; read go </tmp/on; exec <$tty >$tty 2>&1; stty -echo; echo third
read line; echo \"<$line>\"; exit 4";

/// How often a process has waited for something: one that is busy all the time does not.
fn waits(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// Until the shim has looked a few times at what nobody has open.
fn nobody_is_there(ready: &Ready) {
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", ready.pid)).unwrap().flatten();
    let has_terminal = || fds().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|it| it.starts_with("/dev/pts")));
    wait_for("the terminal to be let go", || !has_terminal());
    let before = waits(ready.shim_pid);
    wait_for("the shim to look again, and to wait in between", || waits(ready.shim_pid) >= before + 6);
}

fn make_fifos(stand: &mut Stand) {
    ["tmp/go", "tmp/on"].iter().for_each(|name| stand.make_fifo(name));
}

fn goes_on(stand: &Stand, ready: &Ready, client: &std::os::unix::net::UnixStream) {
    hear(client, "first\r\n");
    nobody_is_there(ready);
    // Typed at what nobody has open: for whoever opens it.
    tell(client, &Request::Stdin(b"wo".to_vec()));
    stand.release("tmp/go");
    hear(client, "second\r\n");
    nobody_is_there(ready);
    stand.release("tmp/on");
    hear(client, "third\r\n");
    tell(client, &Request::Stdin(b"rd\n".to_vec()));
    let (out, _, exit) = listen(client);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("rd>\r\n"), "{out:?}");
    assert_eq!(exit, Some(ExitStatus::Code(4)));
}

fn a_terminal_that_is_opened_again_goes_on(engine: Engine) {
    let mut stand = Stand::new(engine, AWAY);
    stand.terminal();
    stand.process.open_stdin = true;
    make_fifos(&mut stand);
    let (ready, client) = stand.start_with_client();
    goes_on(&stand, &ready, &client);
    assert_eq!(stand.exit(), ExitStatus::Code(4));
    let log = stand.log("stdout");
    assert!(["first\r\n", "second\r\n", "third\r\n", "rd>\r\n"].iter().all(|line| log.contains(line)), "{log:?}");
    stand.assert_clean();
}

fn so_does_that_of_a_further_process(engine: Engine) {
    let mut stand = Stand::new(engine, "sleep 10000 & wait");
    make_fifos(&mut stand);
    stand.start();
    let exec = at_a_terminal(&stand, AWAY);
    let ready = exec.go();
    goes_on(&stand, &ready, &exec.client);
    exec.reap();
}

fn at_a_terminal(stand: &Stand, script: &str) -> Exec {
    Exec::spawn(stand, &["/bin/sh", "-c", script], |process| {
        process.terminal = true;
        process.open_stdin = true;
        process.console_size = Some(ConsoleSize { width: 77, height: 33 });
    })
}

/// Never reads; says when it has a new size.
const DEAF: &str = "stty raw -echo; trap 'stty size' WINCH; echo ready; while [ ! -e /tmp/stop ]; do sleep 0.01; done";

/// More than all there is room for on the way to it.
fn type_a_lot(client: &std::os::unix::net::UnixStream) {
    let line = [b'x'; 64 * 1024];
    (0..48).for_each(|_| tell(client, &Request::Stdin(line.to_vec())));
}

fn input_that_nobody_reads_holds_up_no_size(engine: Engine) {
    let mut stand = Stand::new(engine, DEAF);
    stand.terminal();
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    hear(&client, "ready");
    type_a_lot(&client);
    tell(&client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(answer(&client), Frame::Ack(kind::RESIZE));
    hear(&client, "37 101");
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    stand.assert_clean();
}

fn nor_does_it_hold_up_a_client_that_leaves(engine: Engine) {
    let stand = execs::stand(engine);
    let exec = at_a_terminal(&stand, &format!("{DEAF}; exit 6"));
    let ready = exec.go();
    hear(&exec.client, "ready");
    type_a_lot(&exec.client);
    tell(&exec.client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(answer(&exec.client), Frame::Ack(kind::RESIZE));
    tell(&exec.client, &Request::Release);
    assert_eq!(answer(&exec.client), Frame::Ack(kind::RELEASE));
    exec.client.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(ready.process().alive());
    std::fs::write(stand.in_root("tmp/stop"), "").unwrap();
    exec.reap();
    assert_eq!(exec.record().status, ExitStatus::Code(6));
}

/// What there is room for waits for as long as it takes.
fn what_is_read_late_is_read_whole(engine: Engine) {
    let mut stand = Stand::new(engine, "stty raw -echo; echo ready; read go </tmp/go; head -c 600000 >/tmp/typed");
    stand.terminal();
    stand.process.open_stdin = true;
    stand.make_fifo("tmp/go");
    let (_, client) = stand.start_with_client();
    hear(&client, "ready");
    let typed: Vec<u8> = (0..150_000_u32).flat_map(u32::to_le_bytes).collect();
    typed.chunks(64 * 1024).for_each(|chunk| tell(&client, &Request::Stdin(chunk.to_vec())));
    // It is all at the shim by then.
    tell(&client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(answer(&client), Frame::Ack(kind::RESIZE));
    stand.release("tmp/go");
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(std::fs::read(stand.in_root("tmp/typed")).unwrap() == typed);
    stand.assert_clean();
}
