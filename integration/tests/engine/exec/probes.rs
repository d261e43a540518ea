//! Processes that are run to their end: probes, which the journal does not know.

use std::time::Duration;

use cri_api::isula::v1::execs_client::ExecsClient;
use cri_api::isula::v1::{ExecProcess, ExecSyncRequest, ExecSyncResponse};
use integration::{Node, Runtime, deadline};
use tonic::{Code, Status};

use super::{assert_gone, with_word};

on_each_runtime!(
    output_and_status_are_answered,
    output_beyond_the_limit_is_dropped,
    a_timeout_kills_the_tree,
    a_caller_that_gives_up_kills_the_tree,
);

fn probe(node: &Node, script: &str, timeout_ms: u32) -> Result<ExecSyncResponse, Status> {
    node.block_on(async { ask(&mut node.execs(), script, timeout_ms).await })
}

async fn ask(
    execs: &mut ExecsClient<tonic::transport::Channel>,
    script: &str,
    timeout_ms: u32,
) -> Result<ExecSyncResponse, Status> {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let process = ExecProcess { container: "x".into(), command, ..ExecProcess::default() };
    Ok(execs.exec_sync(ExecSyncRequest { process: Some(process), timeout_ms }).await?.into_inner())
}

fn output_and_status_are_answered(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    let answer = probe(&node, "cat; echo out; echo err >&2; exit 3", 10_000).unwrap();
    assert_eq!((answer.stdout.as_slice(), answer.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(answer.status.unwrap().code, Some(3));
    assert!(answer.failure.is_none());
    let missing = ExecProcess { container: "x".into(), command: vec!["none".into()], ..ExecProcess::default() };
    let request = ExecSyncRequest { process: Some(missing), timeout_ms: 0 };
    let answer = node.block_on(async { node.execs().exec_sync(request).await }).unwrap().into_inner();
    assert_eq!(answer.failure.unwrap().exit_code, 127);
    assert_gone(&node, &id);
    assert_eq!(node.seq(), seq, "the journal has nothing new");
    node.ok(&["pause", "x"]);
    assert_eq!(probe(&node, "true", 0).unwrap_err().code(), Code::FailedPrecondition);
    node.assert_clean_end();
}

fn output_beyond_the_limit_is_dropped(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let answer = probe(&node, "head -c 20000000 /dev/zero; head -c 10 /dev/zero >&2; exit 5", 60_000).unwrap();
    assert_eq!((answer.stdout.len(), answer.stderr.len()), (16 << 20, 10));
    assert_eq!(answer.status.unwrap().code, Some(5));
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn a_timeout_kills_the_tree(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let refusal =
        probe(&node, "sleep 75001 & sleep 75002 & (setsid sleep 75003 & sleep 75004) & wait", 1_000).unwrap_err();
    assert_eq!(refusal.code(), Code::DeadlineExceeded);
    assert_eq!(refusal.message(), "the process did not end within 1000 ms and was killed");
    for word in ["75001", "75002", "75003", "75004"] {
        deadline::until("the tree is gone", || with_word(&node, word).is_empty());
    }
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn a_caller_that_gives_up_kills_the_tree(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    node.block_on(async {
        let asked = async { ask(&mut node.execs(), "sleep 75101 & wait", 0).await };
        assert!(tokio::time::timeout(Duration::from_millis(700), asked).await.is_err());
    });
    deadline::until("it is gone", || with_word(&node, "75101").is_empty());
    assert_gone(&node, &id);
    node.assert_clean_end();
}
