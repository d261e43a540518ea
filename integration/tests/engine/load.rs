//! Many at once: no deadlock, no leak, and one outcome where all want the same.

use std::process::Child;

use cri_api::isula::v1::{CreateRequest, KillRequest, RemoveRequest, StartRequest, StopRequest};
use integration::{Node, Runtime, command, deadline, rootfs};
use tonic::{Code, Status};

on_each_runtime!(fifty_at_once, everybody_at_one_container, nothing_leaks);

const MANY: usize = 50;

type Call = std::pin::Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

fn request(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.into(),
        rootfs: rootfs::BUSYBOX.display().to_string(),
        command: vec!["sleep".into(), "100000".into()],
        ..CreateRequest::default()
    }
}

/// Runs them all at once and gives their outcomes.
fn all<F: Future<Output = Result<(), Status>> + Send + 'static>(
    node: &Node,
    calls: impl Iterator<Item = F>,
) -> Vec<Result<(), Status>> {
    let calls: Vec<F> = calls.collect();
    node.block_on(async {
        let tasks: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            let outcome = tokio::time::timeout(deadline::PATIENCE * 2, task).await.expect("no call hangs");
            outcomes.push(outcome.expect("no call panics"));
        }
        outcomes
    })
}

fn create(node: &Node, name: &str) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    let (mut containers, request) = (node.containers(), request(name));
    async move { containers.create(request).await.map(drop) }
}

fn start(node: &Node, name: &str) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    let (mut containers, container) = (node.containers(), name.to_owned());
    async move {
        let answer = containers.start(StartRequest { container }).await?.into_inner();
        answer.failure.map_or(Ok(()), |failure| Err(Status::internal(failure.message)))
    }
}

fn stop(node: &Node, name: &str) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    let (mut containers, container) = (node.containers(), name.to_owned());
    async move { containers.stop(StopRequest { container, timeout: Some(1), force: false }).await.map(drop) }
}

fn kill(node: &Node, name: &str) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    let (mut containers, container) = (node.containers(), name.to_owned());
    async move { containers.kill(KillRequest { container, signal: String::new() }).await.map(drop) }
}

fn remove(node: &Node, name: &str, force: bool) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    let (mut containers, container) = (node.containers(), name.to_owned());
    async move { containers.remove(RemoveRequest { container, force, volumes: false }).await.map(drop) }
}

#[track_caller]
fn assert_all_succeed(outcomes: &[Result<(), Status>]) {
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

fn fifty_at_once(runtime: Runtime) {
    let node = Node::start(runtime);
    let names: Vec<String> = (0..MANY).map(|number| format!("n{number}")).collect();
    assert_all_succeed(&all(&node, names.iter().map(|name| create(&node, name))));
    assert_all_succeed(&all(&node, names.iter().map(|name| start(&node, name))));
    assert_eq!(node.info().running as usize, MANY);
    assert_eq!(node.shims().len(), MANY);
    // Half are stopped by force with the removal, half before it.
    assert_all_succeed(&all(&node, names[..MANY / 2].iter().map(|name| kill(&node, name))));
    assert_all_succeed(&all(&node, names.iter().map(|name| remove(&node, name, true))));
    assert_eq!(node.list().len(), 0);
    node.assert_nothing_left();

    // One name, requested by many.
    let outcomes = all(&node, (0..MANY).map(|_| create(&node, "same")));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let codes = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(Status::code);
    assert!(codes.clone().all(|code| code == Code::AlreadyExists), "{outcomes:#?}");
    let bundles = node.leftovers().directories.len();
    assert_eq!(bundles, 1, "those who lost the name left nothing");
    assert_all_succeed(&all(&node, (0..MANY).map(|_| start(&node, "same"))));
    assert_eq!(node.shims().len(), 1, "a container is started once");
    let outcomes = all(&node, (0..MANY).map(|_| remove(&node, "same", true)));
    for status in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(status.code(), Code::NotFound, "{status}");
    }
    assert!(outcomes.iter().any(Result::is_ok));
    node.assert_clean_end();
}

fn everybody_at_one_container(runtime: Runtime) {
    let node = Node::start(runtime);
    for round in 0..5 {
        let name = format!("c{round}");
        node.ok(&node.words("run", &["-d", "--name", &name], &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]));
        let deaf = node.spawn(&["wait", &name]);
        let calls: Vec<_> = (0..8)
            .flat_map(|turn| -> Vec<Call> {
                vec![
                    Box::pin(stop(&node, &name)),
                    Box::pin(kill(&node, &name)),
                    Box::pin(start(&node, &name)),
                    Box::pin(remove(&node, &name, turn > 3)),
                ]
            })
            .collect();
        let outcomes = all(&node, calls.into_iter());
        // Each is answered, and each refusal is one of state, not of trouble.
        for status in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(status.code(), Code::NotFound | Code::FailedPrecondition), "round {round}: {status}");
        }
        assert!(node.list().iter().all(|it| it.name != name), "round {round}: a removal by force was among them");
        let waited: Result<_, _> = command::finish(deaf, deadline::PATIENCE);
        assert!(waited.is_ok(), "round {round}: each waiting client gets the end");
    }
    node.assert_clean_end();
}

fn nothing_leaks(runtime: Runtime) {
    let node = Node::start(runtime);
    let cycle = || {
        let followers: Vec<Child> = (0..4).map(|_| node.spawn(&["events", "-f"])).collect();
        let names: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
        assert_all_succeed(&all(&node, names.iter().map(|name| create(&node, name))));
        assert_all_succeed(&all(&node, names.iter().map(|name| start(&node, name))));
        assert_eq!(node.run(&["--rm"], &["echo", "hello"]).text(), "hello");
        node.run(&["--rm"], &["no-such-command"]);
        node.shim_of("n0").kill();
        assert_all_succeed(&all(&node, names.iter().map(|name| remove(&node, name, true))));
        for mut follower in followers {
            let _ = follower.kill();
            let _ = follower.wait();
        }
        deadline::until("the short-lived are removed", || node.list().is_empty());
    };
    // The first makes threads and connections that stay.
    cycle();
    let daemon = node.daemon();
    deadline::until("the daemon is at rest", || node.leftovers().none());
    let (descriptors, threads) = (daemon.descriptors(), daemon.threads());
    for _ in 0..4 {
        cycle();
    }
    // Threads for blocking work come and go; a leak would grow with every cycle of ten.
    deadline::until("descriptors are given back", || daemon.descriptors() <= descriptors + 4);
    deadline::until("threads are given back", || daemon.threads() <= threads + 8);
    assert_eq!(node.shims(), []);
    node.assert_clean_end();
}
