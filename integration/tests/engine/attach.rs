//! Streams without a terminal: complete, in both directions, for every client, independently of other clients.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, ContainerRequest, Empty, Event, ResizeRequest, WindowSize};
use integration::process::Signal;
use integration::{Node, Process, Runtime, command, deadline};
use tokio_stream::StreamExt;
use tonic::Code;

on_each_runtime!(
    ten_mebibytes_come_back_as_they_went,
    the_end_of_the_input_is_the_containers,
    attach_goes_on_after_a_restart_and_after_a_lost_shim,
    the_end_of_a_session_lost_with_the_daemon_is_recorded_once,
    a_stopped_client_delays_no_other,
    a_slow_client_does_not_slow_the_log,
    a_client_that_reads_nothing_has_an_end_before_the_removal,
    a_session_of_input_alone_gets_the_end_and_no_output,
);

/// The daemon's failpoints that are tried here and nowhere else.
pub(crate) const POINTS: [&str; 1] = ["attach-end-recovered"];

/// Every session that the journal has the beginning of has one end there.
#[track_caller]
pub(crate) fn assert_sessions_ended(node: &Node, when: &str) {
    let events = node.events();
    let of = |name: &str| {
        let named = events.iter().filter(|event| event.name == name);
        let mut sessions: Vec<String> = named.map(|event| event.attributes["sessionID"].clone()).collect();
        sessions.sort();
        sessions
    };
    assert_eq!(of("Attached"), of("Detached"), "{when}");
}

const LARGE: usize = 10 << 20;

/// Bytes that would show a place that is missing, twice, or was changed for a terminal's sake.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// `isula` with its input, output and error piped.
fn piped<S: AsRef<std::ffi::OsStr>>(node: &Node, words: &[S]) -> Child {
    let mut command = node.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("isula runs")
}

/// The same, attached.
fn attached<S: AsRef<std::ffi::OsStr>>(node: &Node, words: &[S]) -> Child {
    let seq = node.seq();
    let child = piped(node, words);
    node.event_after(seq, |event| event.name == "Attached");
    child
}

fn process(child: &Child) -> Process {
    Process::of(child.id().cast_signed()).expect("a child not waited for is in /proc")
}

fn finish(child: Child) -> integration::Output {
    command::finish(child, deadline::PATIENCE).unwrap_or_else(|output| {
        panic!("isula does not end; it wrote {} bytes and {}", output.stdout.len(), output.stderr)
    })
}

/// Reads lines until one is `wanted`.
fn read_until(stdout: &mut ChildStdout, wanted: &str) {
    let (mut shown, mut byte) = (String::new(), [0]);
    while !shown.ends_with(wanted) {
        let count = stdout.read(&mut byte).expect("a pipe can be read");
        assert!(count > 0, "ended after {shown:?}");
        shown.push(byte[0].into());
    }
}

fn ten_mebibytes_come_back_as_they_went(runtime: Runtime) {
    let node = Node::start(runtime);
    let sent = bytes(LARGE);
    let file = node.dir().join("large");
    std::fs::write(&file, &sent).expect("the node's directory is ours");
    let mut run = node.command(&node.words("run", &["-i", "--rm"], &["cat"]));
    run.stdin(File::open(&file).expect("it is there")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(run.spawn().expect("isula runs"));
    assert_eq!((output.code(), output.stderr.as_str()), (0, ""));
    assert!(output.stdout == sent, "{} of {} bytes", output.stdout.len(), sent.len());

    node.run_detached(&["-i", "--name", "x"], &["cat"]);
    let mut attach = node.command(&["attach", "x"]);
    attach.stdin(File::open(&file).expect("it is there")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(attach.spawn().expect("isula runs"));
    assert_eq!((output.code(), output.stderr.as_str()), (0, ""));
    assert!(output.stdout == sent, "{} of {} bytes", output.stdout.len(), sent.len());
    node.remove_all();
    node.assert_nothing_left();
}

fn the_end_of_the_input_is_the_containers(runtime: Runtime) {
    let node = Node::start(runtime);
    let mut child = piped(&node, &node.words("run", &["-i", "--rm"], &["sh", "-c", "cat; echo over >&2; exit 9"]));
    child.stdin.take().expect("it is piped").write_all(b"x\n").expect("it is read");
    let output = finish(child);
    assert_eq!((output.code(), output.text().as_str(), output.stderr.as_str()), (9, "x", "over\n"));
    // And the other way: a container that ends is not waited for by an input that does not.
    let child = piped(&node, &node.words("run", &["-i", "--rm"], &["sh", "-c", "echo out; echo err >&2; exit 8"]));
    assert!(process(&child).wait_gone(deadline::PATIENCE), "an open input holds isula");
    let output = finish(child);
    assert_eq!((output.code(), output.text().as_str(), output.stderr.as_str()), (8, "out", "err\n"));
}

/// The code of a session that was lost.
const LOST: i32 = 122;

const LINES: [&str; 3] = ["sh", "-c", "while :; do if read line; then echo \"<$line>\"; else sleep 0.01; fi; done"];

fn attach_goes_on_after_a_restart_and_after_a_lost_shim(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.run_detached(&["-i", "--name", "x"], &LINES);
    let say = |node: &Node, word: &str| {
        let mut child = attached(node, &["attach", "x"]);
        let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        writeln!(stdin, "{word}").expect("it is read");
        read_until(&mut stdout, &format!("<{word}>\n"));
        (child, stdin, stdout)
    };
    let (left, _stdin, _stdout) = say(&node, "one");
    node.kill9();
    let ended = finish(left);
    assert_eq!(ended.code(), LOST);
    assert!(ended.stderr.ends_with("container x may be running still\n"), "{}", ended.stderr);

    node.launch();
    node.verified();
    let (left, _stdin, _stdout) = say(&node, "two");
    let seq = node.seq();
    node.shim_of("x").kill();
    node.event_named(seq, &id, "ShimAdopted");
    let ended = finish(left);
    assert_eq!(ended.code(), LOST);
    // The typed input may not have reached the container.
    let word = "input that was on its way; container x may be running still\n";
    assert!(ended.stderr.ends_with(word), "{}", ended.stderr);
    let (mut last, ..) = say(&node, "three");
    last.kill().expect("it runs");
    finish(last);
    node.remove_all();
    node.assert_nothing_left();
}

fn the_end_of_a_session_lost_with_the_daemon_is_recorded_once(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.run_detached(&["-i", "--name", "x"], &LINES);
    node.run_detached(&["-i", "--name", "y"], &LINES);
    let clients = ["x", "x", "x", "y"].map(|name| attached(&node, &["attach", name]));
    // The daemon's last sign of life.
    node.ok(&["pause", "y"]);
    let before = node.events();
    node.kill9();
    clients.into_iter().for_each(|client| assert_eq!(finish(client).code(), LOST));

    // The next daemon dies after it has recorded one of the ends, the one after it records the others.
    node.launch_with(&[("ISULAD_FAILPOINT", POINTS[0])]);
    node.died();
    node.launch();
    node.verified();
    assert_sessions_ended(&node, "after the crash");
    let ends = node.events().split_off(before.len());
    assert_eq!(ends.len(), 4, "nothing else happened: {ends:?}");
    assert!(ends.iter().all(|event| event.name == "Detached" && event.actor == "recovery"), "{ends:?}");
    assert_eq!(ends.iter().filter(|event| event.id == id).count(), 3);
    let last = before.last().expect("there are events").time;
    for event in ends {
        let is_its = |other: &&Event| other.attributes.get("sessionID") == event.attributes.get("sessionID");
        let began = before.iter().find(is_its).expect("it began").time;
        assert_eq!(event.attributes["lastedMs"], ((last - began) / 1_000_000).to_string(), "as long as is known");
    }

    let seq = node.seq();
    node.restart();
    node.verified();
    assert_eq!(node.seq(), seq, "it is recorded once");
    node.remove_all();
    node.assert_nothing_left();
}

/// 20 MiB, more than every buffer on the way together, after a line of input.
const FLOOD: [&str; 3] = ["sh", "-c", "read go; yes $(printf %01023d 7) | head -n 20480; echo done >&2; exit 4"];

fn a_stopped_client_delays_no_other(runtime: Runtime) {
    let node = Node::start(runtime);
    node.run_detached(&["-i", "--name", "x", "--log-opt", "max-size=64MB"], &FLOOD);
    let stuck = attached(&node, &["attach", "--no-stdin", "x"]);
    process(&stuck).signal(Signal::STOP);
    let mut unread = attached(&node, &["attach", "--no-stdin", "x"]);
    let mut reader = attached(&node, &["attach", "x"]);
    reader.stdin.take().expect("it is piped").write_all(b"go\n").expect("it is read");
    let output = finish(reader);
    assert_eq!((output.code(), output.stderr.as_str()), (4, "done\n"));
    let whole = format!("{:01023}\n", 7).repeat(20 << 10);
    assert!(output.stdout == whole.as_bytes(), "{} of {} bytes", output.stdout.len(), whole.len());
    assert_eq!(node.wait("x"), Some(4));
    // Both clients were cut off; the output that they have missed is in the log.
    process(&stuck).signal(Signal::CONT);
    for child in [stuck, unread_now(&mut unread)] {
        let output = finish(child);
        assert_eq!((output.code(), output.stderr.as_str()), (4, "done\n"));
        assert!(output.stdout == whole.as_bytes(), "{} of {} bytes", output.stdout.len(), whole.len());
    }
    drop(unread);
    let log = node.ok(&["logs", "x"]);
    assert!(log == whole.trim_end(), "the log is whole: {} of {} bytes", log.len(), whole.len());
    node.remove_all();
    node.assert_nothing_left();
}

/// A client that goes on reading, but slowly: a little for each mebibyte that is in the log. Were the log to wait for
/// it, neither would get on.
fn a_slow_client_does_not_slow_the_log(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(&["-i", "--name", "x", "--log-opt", "max-size=64MB"], &FLOOD);
    let mut slow = attached(&node, &["attach", "x"]);
    slow.stdin.as_mut().expect("it is piped").write_all(b"go\n").expect("it is read");
    let mut stdout = slow.stdout.take().expect("it is piped");
    let logged = || std::fs::metadata(node.bundle(&id).join("console.log")).map_or(0, |log| log.len());
    for mebibytes in 1..=20_u64 {
        deadline::until("the log grows", || logged() >= mebibytes << 20);
        let mut some = [0; 4096];
        assert!(stdout.read(&mut some).expect("a pipe can be read") > 0);
    }
    assert_eq!(node.wait("x"), Some(4));
    drop(stdout);
    finish(slow);
    let whole = format!("{:01023}\n", 7).repeat(20 << 10);
    assert!(node.ok(&["logs", "x"]) == whole.trim_end(), "the log is whole");
    node.remove_all();
    node.assert_nothing_left();
}

/// Its session ends with the container, which is removed while output is still on its way.
fn a_client_that_reads_nothing_has_an_end_before_the_removal(runtime: Runtime) {
    let node = Node::start(runtime);
    let seq = node.seq();
    let script = ["sh", "-c", "yes $(printf %01023d 7) | head -n 20480"];
    let mut unread = piped(&node, &node.words("run", &["--rm"], &script));
    node.event_after(seq, |event| event.name == "Removed");
    assert_sessions_ended(&node, "after the removal");
    assert!(node.events().iter().any(|event| event.name == "Detached"));
    assert!(process(&unread).alive(), "it waits to be read");
    finish(unread_now(&mut unread));
    unread.wait().expect("a child can be waited for");
    assert_sessions_ended(&node, "after the client's end");
    node.assert_nothing_left();
}

/// The child itself, in exchange for one that has ended.
fn unread_now(child: &mut Child) -> Child {
    let ended = std::process::Command::new("true").spawn().expect("it runs");
    std::mem::replace(child, ended)
}

#[test]
fn a_slow_reader_of_run_gets_everything() {
    let node = Node::start(Runtime::Runc);
    let mut child = piped(&node, &node.words("run", &["--rm"], &["seq", "1", "300000"]));
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().expect("it is piped");
    let (mut output, mut some) = (Vec::new(), vec![0; 4096]);
    loop {
        let count = stdout.read(&mut some).expect("a pipe can be read");
        if count == 0 {
            break;
        }
        output.extend_from_slice(&some[..count]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(finish(child).code(), 0);
    let whole: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(output == whole.as_bytes(), "{} of {} bytes", output.len(), whole.len());
}

/// Neither is a signal held up by input that the container does not read, nor does the daemon keep that input.
#[test]
fn a_signal_overtakes_unread_input() {
    let node = Node::start(Runtime::Runc);
    let before = node.daemon().status_kib("VmRSS").expect("the daemon runs");
    let mut child = attached(
        &node,
        &node.words("run", &["-i", "--name", "x"], &["sh", "-c", "trap 'exit 6' INT; echo ready; sleep 1000 & wait"]),
    );
    read_until(child.stdout.as_mut().expect("it is piped"), "ready\n");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writing = std::thread::spawn(move || stdin.write_all(&bytes(64 << 20)));
    let isula = process(&child);
    let taken = || std::fs::read_to_string(format!("/proc/{}/io", isula.pid)).unwrap_or_default();
    let mut last = String::new();
    deadline::until("isula takes no more", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = taken();
        // A process that waits for a processor would go on.
        std::mem::replace(&mut last, now) == last && isula.sleeps() && node.daemon().sleeps()
    });
    let grown = node.daemon().status_kib("VmRSS").expect("the daemon runs").saturating_sub(before);
    assert!(grown < 16 << 10, "the daemon has grown by {grown} KiB");
    isula.signal(Signal::INT);
    assert_eq!(finish(child).code(), 6);
    assert!(writing.join().expect("it does not panic").is_err(), "most of it was never read");
    node.remove_all();
}

/// A daemon that does not answer holds no client: signals are passed on to the container, and then they mean isula.
#[test]
fn a_third_signal_ends_isula_although_the_daemon_is_stopped() {
    let node = Node::start(Runtime::Runc);
    let script = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"];
    node.run_detached(&["--name", "x"], &script);
    node.written("x", "ready");
    let mut client = attached(&node, &["attach", "x"]);
    let isula = process(&client);
    let daemon = node.daemon();
    daemon.signal(Signal::STOP);
    // Signals of one kind that come together are one: it takes as many as it takes.
    deadline::until("isula ends", || {
        isula.signal(Signal::TERM);
        !isula.alive()
    });
    assert_eq!(client.wait().expect("a child can be waited for").code(), Some(143));
    daemon.signal(Signal::CONT);
    assert_eq!(node.state_of("x")["Status"], "running");
    deadline::until("the session's end is recorded", || node.events().iter().any(|event| event.name == "Detached"));
    assert_sessions_ended(&node, "after a stop");
    node.remove_all();
    node.assert_nothing_left();
}

#[test]
fn signals_are_isulas_when_that_is_wanted() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("x");
    for words in [&["attach", "--sig-proxy=false", "x"][..], &["attach", "--no-stdin", "--sig-proxy=false", "x"]] {
        let child = attached(&node, words);
        process(&child).signal(Signal::INT);
        assert_eq!(finish(child).code(), 130);
    }
    assert_eq!(node.state_of("x")["Status"], "running");
    let child = attached(&node, &["attach", "x"]);
    process(&child).signal(Signal::TERM);
    assert_eq!(finish(child).code(), 0, "the container has ended by it");
}

#[test]
fn input_for_once_ends_with_the_client_that_was_there_for_it() {
    let mut node = Node::start(Runtime::Runc);
    for (name, by_daemon) in [("x", false), ("y", true)] {
        let mut child =
            attached(&node, &node.words("run", &["-i", "--name", name], &["sh", "-c", "echo ready; cat; exit 2"]));
        read_until(child.stdout.as_mut().expect("it is piped"), "ready\n");
        if by_daemon {
            node.kill9();
            node.launch();
            node.verified();
        }
        let _ = child.kill();
        child.wait().expect("a child can be waited for");
        assert_eq!(node.wait(name), Some(2));
    }
    // Without an attached client no client's leaving could end it.
    node.run_detached(&["-i", "--name", "z"], &LINES);
    for word in ["one", "two"] {
        let mut child = attached(&node, &["attach", "z"]);
        writeln!(child.stdin.as_mut().expect("it is piped"), "{word}").expect("it is read");
        read_until(child.stdout.as_mut().expect("it is piped"), &format!("<{word}>\n"));
        child.kill().expect("it runs");
        child.wait().expect("a child can be waited for");
    }
    node.remove_all();
}

#[test]
fn killed_clients_leave_nothing_behind() {
    let node = Node::start(Runtime::Runc);
    node.run_detached(&["-i", "--name", "x"], &["sh", "-c", "while [ ! -e /tmp/go ]; do echo line; sleep 0.01; done"]);
    let (daemon, shim) = (node.daemon(), node.shim_of("x"));
    let tasks = || (daemon.threads(), shim.threads());
    node.settled_descriptors();
    let descriptors = || (daemon.descriptors(), shim.descriptors());
    // The first one makes whatever is made once per container.
    let once = attached(&node, &["attach", "x"]);
    process(&once).kill();
    finish(once);
    let quiet = || {
        deadline::until("the session is over", || {
            let events = node.events();
            let count = |name: &str| events.iter().filter(|event| event.name == name).count();
            count("Attached") == count("Detached")
        })
    };
    quiet();
    let (before, threads) = (descriptors(), tasks());
    let mut clients: Vec<Child> = (0..12).map(|_| attached(&node, &["attach", "x"])).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // Some with input that waits for ever, some stopped.
        if number % 3 == 0 {
            let mut stdin = client.stdin.take().expect("it is piped");
            std::thread::spawn(move || stdin.write_all(&bytes(4 << 20)));
        }
        if number % 3 == 1 {
            process(client).signal(Signal::STOP);
        }
    }
    for client in clients {
        process(&client).kill();
        assert_eq!(finish(client).status.signal(), Some(9));
    }
    quiet();
    // The connection of the first client may not have been closed yet when it was counted.
    let no_more = |now: (usize, usize)| now.0 <= before.0 && now.1 <= before.1;
    deadline::until("every descriptor is closed", || no_more(descriptors()));
    assert!(tasks().0 <= threads.0 + 2 && tasks().1 == threads.1, "{:?} were {threads:?}", tasks());
    node.remove_all();
    node.assert_nothing_left();
}

#[test]
fn impossible_attachments_are_refused() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "made"], &["true"]);
    node.sleeper("frozen");
    node.ok(&["pause", "frozen"]);
    for (words, code, complaint) in [
        (["attach", "made"], 1, "Container x is not running"),
        (["attach", "frozen"], 1, "You cannot attach to container x, which is paused. Unpause it first"),
        (["attach", "nobody"], 1, "No such container:nobody"),
    ] {
        let refusal = node.isula(&words).refused(code);
        let id = node.list().into_iter().find(|it| it.name == words[1]).map_or(words[1].to_owned(), |it| it.id);
        assert_eq!(refusal, format!("Error response from daemon: {}", complaint.replace(" x", &format!(" {id}"))));
    }
    node.ok(&["unpause", "frozen"]);
    let attach = |open: AttachOpen| {
        node.block_on(async {
            let input = tokio_stream::iter([AttachInput { input: Some(Input::Open(open)) }]);
            node.containers().attach(input).await.map(drop)
        })
    };
    let nothing =
        attach(AttachOpen { container: "frozen".into(), ..AttachOpen::default() }).expect_err("it is refused");
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert_eq!(nothing.message(), "an attach must be to one of stdin, stdout and stderr at least");
    for (width, height) in [(0, 0), (80, 0), (65535, 24), (70000, 24)] {
        let size = Some(WindowSize { width, height });
        let resize = async { node.containers().resize(ResizeRequest { container: "frozen".into(), size }).await };
        assert_eq!(
            node.block_on(resize).expect_err("it is refused").code(),
            Code::InvalidArgument,
            "{width} by {height}"
        );
    }
    let events = node.events();
    assert!(events.iter().all(|event| event.name != "Attached"), "a refusal is not recorded");
    let gone = ContainerRequest { container: "frozen".into() };
    node.block_on(async { node.containers().unpause(gone).await }).expect("it runs");
    node.remove_all();
}

fn a_session_of_input_alone_gets_the_end_and_no_output(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = ["sh", "-c", "cat > /tmp/taken; cat /tmp/taken; echo err >&2; exit 4"];
    node.run_detached(&["-i", "--name", "x"], &script);
    let open = AttachOpen { container: "x".into(), stdin: true, ..AttachOpen::default() };
    let input = [Input::Open(open), Input::Stdin(b"taken\n".to_vec()), Input::StdinClosed(Empty {})];
    let input = input.map(|input| AttachInput { input: Some(input) });
    let outputs = node.block_on(async {
        // The session is there for as long as its inputs may come.
        let inputs = tokio_stream::iter(input).chain(tokio_stream::pending());
        let mut stream = node.containers().attach(inputs).await.expect("it is served").into_inner();
        let mut outputs = Vec::new();
        while let Some(message) = stream.message().await.expect("it is served") {
            outputs.push(message.output.expect("it is one of them"));
        }
        outputs
    });
    let [Output::Started(_), Output::Exited(exit)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(exit.code, Some(4));
    let logged = node.isula(&["logs", "x"]);
    assert_eq!((logged.text().as_str(), logged.stderr.as_str()), ("taken", "err\n"));
    assert_sessions_ended(&node, "after the end");
    node.assert_clean_end();
}

#[test]
fn only_the_streams_that_were_chosen() {
    let node = Node::start(Runtime::Runc);
    let script = ["sh", "-c", "cat; echo out; echo err >&2"];
    let run = |flags: &[&str]| {
        let mut child = piped(&node, &node.words("run", &[&["-i", "--rm"], flags].concat(), &script));
        let _ = child.stdin.take().expect("it is piped").write_all(b"in ");
        let output = finish(child);
        (output.code(), output.text(), output.stderr)
    };
    assert_eq!(run(&["-a", "stdin", "-a", "STDERR"]), (0, String::new(), "err\n".into()));
    assert_eq!(run(&["-a", "stdin", "-a", "stdout"]), (0, "in out".into(), String::new()));
    let refused = node.isula(&node.words("run", &["-d", "-a", "stdout"], &["true"])).refused(125);
    assert!(refused.contains("Conflicting options: -a and -d"), "{refused}");
    let refused = node.isula(&node.words("run", &["-a", "stdin"], &["true"])).refused(125);
    assert!(refused.contains("Nothing is attached: -a STDIN needs -i"), "{refused}");
}
