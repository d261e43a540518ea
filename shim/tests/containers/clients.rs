//! Clients of the attach socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use isulad_shim::control::{Streams, kind};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{ExitStatus, Frame, Request};

use crate::stand::{Engine, PATIENCE, Stand, read_all, read_answer, read_until, send, wait_for};

crate::on_both_runtimes!(
    input_reaches_the_container_and_ends_when_it_is_closed,
    a_terminal_gets_the_requested_size,
    clients_get_the_same_output_of_their_chosen_streams,
);

fn input_reaches_the_container_and_ends_when_it_is_closed(engine: Engine) {
    let mut stand = Stand::with_args(engine, &["/bin/cat"]);
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    let text: Vec<u8> = (0..300_000u32).map(|number| b'a' + (number % 25) as u8).collect();
    let sender = client.try_clone().unwrap();
    let sent = text.clone();
    let sending = std::thread::spawn(move || {
        send(&sender, &Request::Stdin(sent));
        send(&sender, &Request::CloseStdin);
    });
    let (out, _, exit) = read_all(&client);
    sending.join().unwrap();
    assert_eq!(exit, Some(ExitStatus::Code(0)));
    assert!(out == text, "{} of {} bytes came back", out.len(), text.len());
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(stand.log("stdout").as_bytes() == text);
    stand.assert_clean();
}

fn a_terminal_gets_the_requested_size(engine: Engine) {
    let mut stand = Stand::new(engine, "while read line; do stty size; done");
    stand.terminal();
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    send(&client, &Request::Resize { width: 101, height: 37 });
    assert_eq!(read_answer(&client), Frame::Ack(kind::RESIZE));
    send(&client, &Request::Stdin(b"\n".to_vec()));
    read_until(&client, "37 101\r\n");
    send(&client, &Request::CloseStdin);
    assert!(matches!(read_answer(&client), Frame::Error(kind::CLOSE_STDIN, _)));
    send(&client, &Request::Stdin(vec![4])); // Ctrl-D ends a terminal's input.
    assert_eq!(read_all(&client).2, Some(ExitStatus::Code(0)));
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert!(stand.log("stdout").contains("37 101\r\n"), "{:?}", stand.log("stdout"));
    stand.assert_clean();
}

fn clients_get_the_same_output_of_their_chosen_streams(engine: Engine) {
    let mut stand = Stand::new(engine, "read line; echo out; echo err >&2; exit 3");
    stand.process.open_stdin = true;
    stand.start();
    let choose = |stdin, stdout, stderr| {
        let client = stand.attach();
        send(&client, &Request::Hello(Streams { stdin, stdout, stderr }));
        // Answered in order, so the choice is in effect.
        send(&client, &Request::Status);
        assert!(matches!(read_answer(&client), Frame::Ready(_)));
        client
    };
    let (all, out, err, none) =
        (choose(true, true, true), choose(false, true, false), choose(false, false, true), choose(false, false, false));
    send(&all, &Request::Stdin(b"go\n".to_vec()));
    let exit = Some(ExitStatus::Code(3));
    assert_eq!(read_all(&all), (b"out\n".to_vec(), b"err\n".to_vec(), exit));
    assert_eq!(read_all(&out), (b"out\n".to_vec(), vec![], exit));
    assert_eq!(read_all(&err), (vec![], b"err\n".to_vec(), exit));
    assert_eq!(read_all(&none), (vec![], vec![], exit));
    stand.exit();
    stand.assert_clean();
}

#[test]
fn stdin_once_ends_with_its_client() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/cat"]);
    stand.process.open_stdin = true;
    stand.process.stdin_once = true;
    let (_, client) = stand.start_with_client();
    send(&client, &Request::Stdin(b"last words\n".to_vec()));
    read_until(&client, "last words\n");
    drop(client);
    assert_eq!(stand.exit(), ExitStatus::Code(0));
}

#[test]
fn input_without_stdin_once_outlives_a_client() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/cat"]);
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    send(&client, &Request::Stdin(b"one\n".to_vec()));
    read_until(&client, "one\n");
    drop(client);
    let client = stand.attach();
    send(&client, &Request::Hello(Streams::ALL));
    send(&client, &Request::Stdin(b"two\n".to_vec()));
    read_until(&client, "two\n");
    send(&client, &Request::CloseStdin);
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert_eq!(stand.log("stdout"), "one\ntwo\n");
}

/// Less than a FIFO, the shim and a socket hold together, more than any two of them.
const TAKEN: usize = 202_000;

/// The container reads nothing, so that the shim cannot take all input; bytes sent before the client left still
/// arrive.
#[test]
fn a_client_that_leaves_while_its_input_waits_is_released() {
    let mut stand = Stand::new(Engine::Runc, "while [ ! -e /tmp/go ]; do sleep 0.01; done; wc -c");
    stand.process.open_stdin = true;
    let (ready, first) = stand.start_with_client();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", ready.shim_pid)).unwrap().count();
    send(&first, &Request::Status);
    assert!(matches!(read_answer(&first), Frame::Ready(_)), "what is opened at a start is open");
    let before = descriptors();
    let client = stand.attach();
    wait_for("the connection", || descriptors() == before + 1);
    client.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    (0..64).for_each(|_| Request::Stdin(vec![b'x'; 1000]).encode(&mut bytes));
    // Sends until nothing more fits anywhere. A shim that is only waiting for a processor has not taken enough.
    let (mut sent, mut stuck) = (0, 0);
    let end = Instant::now() + PATIENCE;
    while stuck < 20 || sent < TAKEN {
        assert!(Instant::now() < end, "after {sent} bytes nothing more is taken");
        match (&client).write(&bytes[sent % bytes.len()..]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
                stuck += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let whole = sent / 1005 * 1000;
    drop(client);
    wait_for("its end", || descriptors() == before);
    std::fs::write(stand.in_root("tmp/go"), "").unwrap();
    send(&first, &Request::CloseStdin);
    let counted: usize = read_until(&first, "\n").trim().parse().unwrap();
    assert_eq!(counted, whole);
    assert_eq!(stand.exit(), ExitStatus::Code(0));
}

/// The writer waits for room in a FIFO that is not empty: SIGIO is the only event for that.
#[test]
fn a_blocked_write_behind_an_incomplete_line_continues() {
    let script = "printf 'a prompt: '; read line; dd if=/dev/zero bs=1M count=3 2>/dev/null; exit 4";
    let mut stand = Stand::new(Engine::Runc, script);
    stand.process.open_stdin = true;
    let (ready, client) = stand.start_with_client();
    read_until(&client, "a prompt: ");
    // The shim waits for the rest of the line: it sleeps, and is not waiting for a processor.
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", ready.shim_pid)).unwrap();
        let of = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        (of("State").contains('S'), of("voluntary_ctxt_switches"))
    };
    let mut last = (false, String::new());
    wait_for("a quiet shim", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = switches();
        std::mem::replace(&mut last, now.clone()) == now && now.0
    });
    send(&client, &Request::Stdin(b"\n".to_vec()));
    let (out, _, exit) = read_all(&client);
    assert_eq!((out.len(), exit), (3 << 20, Some(ExitStatus::Code(4))));
    stand.exit();
}

#[test]
fn a_client_that_reads_nothing_does_not_block_the_container() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "300000"]);
    let (_, stuck) = stand.start_with_client();
    let attached = stand.attach();
    send(&attached, &Request::Hello(Streams::ALL));
    let (_, _, exit) = read_all(&attached);
    assert_eq!(exit, Some(ExitStatus::Code(0)), "the other client is served to the end");
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    let whole: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(stand.log("stdout") == whole);
    assert!(stand.shim_log().contains("cut off"), "{}", stand.shim_log());
    let mut rest = Vec::new();
    let _ = (&stuck).read_to_end(&mut rest);
    assert!(rest.len() < whole.len());
}

#[test]
fn a_slow_client_that_reads_gets_everything() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "300000"]);
    let (_, client) = stand.start_with_client();
    let (out, _, exit) = read_all(&client);
    let whole: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(exit, Some(ExitStatus::Code(0)));
    assert!(out == whole.as_bytes(), "{} of {} bytes", out.len(), whole.len());
    stand.exit();
}

/// The daemon takes the hang-up for the end of the shim and kills its remains: no client may lose output by that.
#[test]
fn the_shim_stays_until_a_late_reader_has_all_output() {
    // More than a socket's buffer, less than the amount at which the container waits.
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "50000"]);
    let (ready, client) = stand.start_with_client();
    let shim = PidFd::open(ready.shim()).unwrap();
    assert_eq!(stand.read_exit(), ExitStatus::Code(0));
    wait_for("the runtime's delete", || !stand.process.runtime_root.join(&stand.process.id).exists());
    // Longer than the work after the delete without a wait, and shorter than the limit of that wait.
    assert!(!stand.hangs_up_within(Duration::from_secs(1)), "the shim has left, and what a client wants with it");
    std::thread::scope(|scope| {
        let stand = &stand;
        scope.spawn(move || {
            stand.wait_hang_up();
            let _ = shim.send_signal(libc::SIGKILL);
        });
        let (out, _, exit) = read_all(&client);
        let whole: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
        assert!(out == whole.as_bytes(), "{} of {} bytes", out.len(), whole.len());
        assert_eq!(exit, Some(ExitStatus::Code(0)));
    });
    stand.assert_clean();
}

/// A client that reads nothing delays the end only for a bounded time.
#[test]
fn the_shim_exits_although_a_client_reads_nothing() {
    let mut stand = Stand::with_args(Engine::Runc, &["/bin/seq", "50000"]);
    let (_, client) = stand.start_with_client();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    stand.assert_clean();
    let mut rest = Vec::new();
    let _ = (&client).read_to_end(&mut rest);
    assert!(rest.len() < 288_894, "the socket had room for all: this test shows nothing");
}

#[test]
fn a_malformed_frame_ends_only_its_connection() {
    let mut stand = Stand::new(Engine::Runc, "read line; exit 2");
    stand.process.open_stdin = true;
    stand.start();
    for nonsense in [&b"\x7f\0\0\0\0"[..], b"\x02\xff\xff\xff\xff", b"\x04\x01\0\0\0x", b"GET / HTTP/1.1\r\n\r\n"] {
        let client = stand.attach();
        std::io::Write::write_all(&mut &client, nonsense).unwrap();
        ended(&client);
    }
    let client = stand.attach();
    send(&client, &Request::Hello(Streams::ALL));
    send(&client, &Request::Resize { width: 1, height: 1 });
    assert!(matches!(read_answer(&client), Frame::Error(kind::RESIZE, _)));
    send(&client, &Request::Stdin(b"\n".to_vec()));
    assert_eq!(stand.exit(), ExitStatus::Code(2));
}

fn ended(stream: &UnixStream) {
    let mut rest = Vec::new();
    let result = (&*stream).read_to_end(&mut rest);
    assert!(result.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) || rest.is_empty());
}

#[test]
fn reopen_log_creates_a_new_file() {
    let mut stand = Stand::new(Engine::Runc, "while read line; do echo $line; done");
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    send(&client, &Request::Stdin(b"one\n".to_vec()));
    read_until(&client, "one\n");
    let log = stand.process.bundle.join("console.log");
    std::fs::rename(&log, stand.process.bundle.join("moved")).unwrap();
    send(&client, &Request::ReopenLog);
    assert_eq!(read_answer(&client), Frame::Ack(kind::REOPEN_LOG));
    send(&client, &Request::Stdin(b"two\n".to_vec()));
    send(&client, &Request::CloseStdin);
    stand.exit();
    assert_eq!(stand.log("stdout"), "two\n");
    assert_eq!(crate::stand::log_text(&stand.process.bundle.join("moved"), "stdout"), "one\n");
}
