//! Clients that do not read their answers: they lose nothing, and delay no others.

use std::io::Read;
use std::process::Stdio;

use cri_api::isula::v1::LogsRequest;
use integration::{Node, Runtime, command, deadline};
use tonic::Streaming;

on_each_runtime!(run_gives_everything_to_a_client_that_does_not_read_for_seconds);

/// More than all buffers between a container and a client take together.
const LINES: u32 = 600_000;

fn whole_output() -> String {
    (1..=LINES).map(|number| format!("{number}\n")).collect()
}

/// Longer than the shim lets a client hold its container up: the rest comes from the log.
fn run_gives_everything_to_a_client_that_does_not_read_for_seconds(runtime: Runtime) {
    let node = Node::start(runtime);
    let seq = node.seq();
    let script = format!("seq 1 {LINES}; exit 7");
    let words = node.words("run", &["--rm", "--log-opt", "max-size=200MB"], &["sh", "-c", &script]);
    let mut client = node.command(&words);
    let mut client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 2];
    client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let [started, exited] = ["Started", "Exited"].map(|name| node.event_after(seq, |event| event.name == name));
    assert!(exited.time - started.time >= 5_000_000_000, "it did not wait for its client: {LINES} lines are too few");
    assert_eq!(node.list().len(), 1, "it stays for as long as its client needs the log");
    let output = command::finish(client, deadline::PATIENCE).expect("the rest is read at once");
    assert_eq!((output.code(), output.stderr.as_str()), (7, ""));
    let read = [&first[..], &output.stdout].concat();
    assert!(read == whole_output().as_bytes(), "{} of {} bytes", read.len(), whole_output().len());
    deadline::until("the container is gone", || node.list().is_empty());
    node.assert_clean_end();
}

/// As many as a connection has calls at once, each on a connection of its own.
#[test]
fn hundreds_of_stalled_log_followers_cost_little() {
    const CLIENTS: usize = 512;
    let node = Node::start(Runtime::Runc);
    // More than a connection's window, for each.
    let script = "seq 1 100000; echo written; exec sleep 100000";
    node.run_detached(&["--name", "x", "--log-opt", "max-size=200MB"], &["sh", "-c", script]);
    node.written("x", "written");
    let daemon = node.daemon();
    let grown = |before: u64| daemon.status_kib("VmRSS").unwrap().saturating_sub(before);
    let (descriptors, memory) = (node.settled_descriptors(), daemon.status_kib("VmRSS").unwrap());
    let mut following: Vec<Streaming<_>> = Vec::new();
    for _ in 0..CLIENTS {
        let request = LogsRequest { container: "x".to_owned(), follow: true, ..LogsRequest::default() };
        let followed = node.block_on(async {
            let mut stream = node.containers().logs(request).await.expect("it is served").into_inner();
            let first = stream.message().await.expect("it is served");
            first.is_some().then_some(stream)
        });
        following.push(followed.expect("there are lines"));
    }
    assert!(daemon.descriptors() >= descriptors + CLIENTS, "each has a connection");
    assert_eq!(node.ok(&["ps", "-q"]).lines().count(), 1);
    assert_eq!(node.ok(&["logs", "-n", "1", "x"]), "written");
    let all = grown(memory);
    assert!(all < 1024 * CLIENTS as u64, "{CLIENTS} clients cost {all} KiB");
    drop(following);
    deadline::until("every descriptor is closed", || daemon.descriptors() <= descriptors);
    deadline::until("their memory is given back", || grown(memory) < all / 2);
    node.assert_clean_end();
}
