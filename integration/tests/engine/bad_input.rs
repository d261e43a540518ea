//! Wrong input is refused in words that name the fault, with a proper exit code, and leaves nothing behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use cri_api::isula::v1::{CreateRequest, KillRequest, LogsRequest, Mount, Resources};
use integration::{Node, Runtime, binaries, command, deadline, rootfs};
use serde_json::json;
use tonic::Code;

on_each_runtime!(commands_that_cannot_run, runtimes_that_fail);

/// A runtime of our own: a script before the real one.
pub(crate) fn script(node: &Node, name: &str, text: &str) -> PathBuf {
    let path = node.dir().join(name);
    let real = binaries::required(node.runtime().name());
    fs::write(&path, format!("#!/bin/sh\nreal={}\n{text}\n", real.display())).expect("the node's directory is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

fn commands_that_cannot_run(runtime: Runtime) {
    let node = Node::start(runtime);
    for (words, code) in
        [(&["no-such-command"][..], 127), (&["/no/such/command"], 127), (&["/etc/passwd"], 126), (&["/etc"], 126)]
    {
        for flags in [&["--name", "x"][..], &["-d", "--name", "x"]] {
            let output = node.run(flags, words);
            let refusal = output.clone().refused(code);
            assert!(refusal.contains("Error response from daemon: "), "{words:?}: {refusal}");
            assert_eq!(node.state_of("x")["ExitCode"], code, "{words:?}");
            assert!(!node.state_of("x")["Error"].as_str().unwrap_or_default().is_empty());
            let left = node.leftovers();
            assert!(left.mounts.is_empty() && left.shims.is_empty() && left.cgroups.is_empty(), "{words:?}: {left:#?}");
            node.ok(&["rm", "x"]);
        }
    }
    let output = node.run(&["--workdir", "relative"], &["true"]);
    assert_eq!(output.code(), 125, "{}", output.stderr);
    let output = node.run(&["-u", "nobody-here"], &["true"]);
    assert_eq!(output.code(), 125);
    assert!(output.stderr.contains("nobody-here"), "{}", output.stderr);
    node.assert_clean_end();
}

fn runtimes_that_fail(runtime: Runtime) {
    let mut node = Node::builder(runtime).build();
    let failing = script(&node, "failing", "echo 'the disk of the runtime is on fire' >&2; exit 1");
    let dying = script(&node, "dying", "kill -9 $$");
    let garbage = node.dir().join("garbage");
    fs::write(&garbage, [0xff; 100]).expect("the node's directory is ours");
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).expect("it is ours");
    // Works until the container runs; then its pause fails.
    let half =
        script(&node, "half", "case \"$*\" in *pause*) echo 'no pause today' >&2; exit 1;; esac; exec $real \"$@\"");
    node.set(
        "runtimes",
        json!({
            "gone": {"path": "/no/such/runtime"}, "failing": {"path": failing}, "dying": {"path": dying},
            "garbage": {"path": garbage}, "half": {"path": half},
        }),
    );
    node.launch();
    for (name, text) in [
        ("nope", "nope"),
        ("gone", "/no/such/runtime"),
        ("failing", "the disk of the runtime is on fire"),
        ("dying", "dying"),
        ("garbage", "garbage"),
    ] {
        let refusal = node.run(&["--runtime", name, "--rm"], &["true"]).refused(125);
        assert!(refusal.contains(text) || refusal.contains("runtime"), "{name}: {refusal}");
        assert!(name == "dying" || refusal.contains(text), "{name}: {refusal}");
        deadline::until("nothing is left of it", || node.leftovers().none());
    }
    node.run_detached(&["--name", "x", "--runtime", "half"], &["sleep", "100000"]);
    let refusal = node.isula(&["pause", "x"]).refused(1);
    assert!(refusal.contains("no pause today"), "{refusal}");
    assert_eq!(node.status_of("x"), "running", "a pause that failed is undone");
    node.assert_clean_end();
}

/// A runtime that hangs has a deadline, and hurts its own container only.
#[test]
fn a_runtime_that_hangs() {
    let mut node = Node::builder(Runtime::Runc).build();
    let hanging = script(&node, "hanging", "case \"$*\" in *pause*) sleep 100000;; esac; exec $real \"$@\"");
    node.set("runtimes", json!({"hanging": {"path": hanging}}));
    node.launch();
    node.run_detached(&["--name", "sick", "--runtime", "hanging"], &["sleep", "100000"]);
    let pausing = node.spawn(&["pause", "sick"]);
    node.event_after(0, |event| event.name == "PauseRequested");
    // Meanwhile everything else works.
    node.sleeper("well");
    node.ok(&["pause", "well"]);
    assert_eq!(node.ok(&["ps", "-q"]).lines().count(), 2);
    node.ok(&["rm", "-f", "well"]);
    let refusal = command::finish(pausing, deadline::PATIENCE).expect("the deadline ends it").refused(1);
    assert!(refusal.contains("`pause` did not finish within"), "{refusal}");
    assert_eq!(node.status_of("sick"), "running");
    node.assert_clean_end();
}

#[test]
fn root_filesystems() {
    let node = Node::start(Runtime::Runc);
    let file = node.dir().join("file");
    fs::write(&file, "").expect("the node's directory is ours");
    for place in [Path::new("/no/such/rootfs"), &file] {
        let place = place.display().to_string();
        let refusal = node.isula(&["run", "--external-rootfs", &place, "none", "true"]).refused(125);
        assert!(refusal.contains(&place), "{refusal}");
    }
    assert_eq!(node.isula(&["run", "--pull=never", "busybox", "true"]).code(), 125, "there is no such image");
    let asked = |rootfs: &str| {
        let request = CreateRequest { rootfs: rootfs.into(), command: vec!["true".into()], ..CreateRequest::default() };
        node.block_on(async { node.containers().create(request).await }).expect_err("it is refused")
    };
    for relative in ["relative", "../up", ""] {
        let status = asked(relative);
        assert_eq!(status.code(), Code::InvalidArgument, "{relative}: {status}");
    }
    // A root that goes away between creation and start.
    let own = node.dir().join("own");
    rootfs::make(&own);
    let place = own.display().to_string();
    node.ok(&["create", "--name", "x", "--external-rootfs", &place, "none", "true"]);
    fs::remove_dir_all(&own).expect("it is ours");
    let refusal = node.isula(&["start", "x"]).refused(1);
    assert!(refusal.contains(&place), "{refusal}");
    assert!(node.mounts().is_empty());
    node.assert_clean_end();
}

#[test]
fn flags() {
    let node = Node::start(Runtime::Runc);
    let rootfs = rootfs::BUSYBOX.display().to_string();
    for flag in [
        "--memory=1x",
        "--bogus",
        "--cpus=many",
        "--volume=relative:/x:ro:rw:z",
        "--mount=type=magic",
        "--ulimit=bogus=1",
        "--ulimit=nofile=9:1",
        "--net=moon",
        "--pid=container:",
        "--cap-add=FLY",
        "--sysctl=kernel.panic=1",
        "--device=/no/such/device",
        "--stop-signal=NOPE",
        "--restart=always",
        "--security-opt=seccomp=/no/such/file",
        "--log-driver=syslog",
        "--env-file=/no/such/file",
        "--memory=1k",
        "--name=-",
        "--hostname=a/b",
        "--tmpfs=relative",
    ] {
        let output = node.isula(&["run", "--rm", flag, "--external-rootfs", &rootfs, "none", "true"]);
        assert_eq!(output.code(), 125, "{flag}: {}", output.stderr);
        assert!(!output.stderr.trim().is_empty(), "{flag} is refused without a word");
    }
    assert_eq!(node.isula(&["bogus"]).code(), 1);
    assert_eq!(node.isula(&["run"]).code(), 125);
    assert_eq!(node.isula(&["stop"]).code(), 125);
    assert_eq!(node.isula(&["stop", "-t", "soon", "x"]).code(), 125);
    deadline::until("those that could not start are removed", || node.list().is_empty());
    node.assert_clean_end();
}

#[test]
fn no_daemon() {
    let node = Node::builder(Runtime::Runc).build();
    let refusal = node.isula(&["ps"]).refused(1);
    assert!(refusal.starts_with("Can not connect with server.Is the iSulad daemon running on the host?"), "{refusal}");
    assert_eq!(node.run(&[], &["true"]).code(), 125);
}

#[test]
fn configuration_files() {
    let mut node = Node::builder(Runtime::Runc).build();
    for (text, complaints) in [
        ("{\n  \"graph\": \"/x\",\n  \"grph\": \"/y\"\n}", ["unknown field `grph`", "line 3"]),
        ("{\n  \"graph\": 7\n}", ["invalid type: integer `7`", "line 2"]),
        ("{\n  \"graph\": \"/x\"", ["daemon.json", "line 2"]),
        ("{\"default-runtime\": \"nope\"}", ["--default-runtime", "`nope` is unknown"]),
        ("{\"log-level\": \"loud\"}", ["--log-level", "`loud` is unknown"]),
        ("{\"hosts\": [\"tcp://0.0.0.0:1\"]}", ["hosts", "tcp://0.0.0.0:1"]),
    ] {
        fs::write(node.config_file(), text).expect("the node's directory is ours");
        let ended = node.launch_as_configured(&[], &[]).expect_err("it is refused");
        assert_eq!(ended.status.code(), Some(1));
        for complaint in complaints {
            assert!(ended.log.contains(complaint), "{text}: {}", ended.log);
        }
    }
    fs::remove_file(node.config_file()).expect("it is there");
    let ended = node.launch_as_configured(&[], &[]).expect_err("a named file has to be there");
    assert!(ended.log.contains("daemon.json"), "{}", ended.log);
    node.launch();
}

#[test]
fn sockets_and_roots_in_use() {
    let mut node = Node::builder(Runtime::Runc).build();
    let stranger = UnixListener::bind(node.socket()).expect("the place is free");
    let ended = node.try_launch(&[]).expect_err("it is refused");
    assert!(ended.log.contains("is taken: another daemon answers there"), "{}", ended.log);
    assert!(UnixStream::connect(node.socket()).is_ok(), "the stranger keeps his socket");
    drop(stranger);
    fs::remove_file(node.socket()).expect("it is there");
    fs::write(node.socket(), "precious").expect("the place is free");
    let ended = node.try_launch(&[]).expect_err("it is refused");
    assert!(ended.log.contains("is in the way and not a socket"), "{}", ended.log);
    assert_eq!(fs::read_to_string(node.socket()).expect("it is kept"), "precious");
    fs::remove_file(node.socket()).expect("it is there");
    // The socket of a killed daemon is replaced.
    node.launch();
    node.restart();

    let id = node.sleeper("x");
    let other = node.dir().join("other.json");
    let config = json!({"graph": node.graph(), "state": node.state(), "hosts": [format!("unix://{}.2", node.socket().display())]});
    fs::write(&other, config.to_string()).expect("the node's directory is ours");
    let mut second = std::process::Command::new(binaries::path("isulad"));
    let refusal = command::run(second.arg("--config").arg(&other), deadline::PATIENCE).refused(1);
    assert!(refusal.contains("is locked: stop the other daemon"), "{refusal}");
    assert_eq!(node.status_of(&id), "running");
    node.assert_clean_end();
}

#[test]
fn a_shim_that_is_missing() {
    let mut node = Node::builder(Runtime::Runc).config("shim", json!("/no/such/shim")).start();
    let refusal = node.run(&["--name", "x"], &["true"]).refused(125);
    assert!(refusal.contains("cannot find the shim `/no/such/shim`"), "{refusal}");
    assert!(node.mounts().is_empty());
    node.ok(&["rm", "x"]);
    // The shim's program may also go while containers run: they are watched all the same.
    node.kill9();
    let shim = node.dir().join("isulad-shim");
    fs::copy(binaries::path("isulad-shim"), &shim).expect("it can be copied");
    node.set("shim", json!(shim));
    node.launch();
    node.run_detached(&["--name", "y"], &["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"]);
    node.written("y", "ready");
    fs::remove_file(&shim).expect("it is there");
    node.shim_of("y").kill();
    node.event_after(0, |event| event.name == "ShimLost");
    assert_eq!(node.status_of("y"), "running");
    node.ok(&["stop", "y"]);
    assert_eq!(node.state_of("y")["ExitCode"], 7);
    node.assert_clean_end();
}

#[test]
fn garbage_on_the_socket() {
    let node = Node::start(Runtime::Runc);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frames: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0; 4096], &[0xff; 4096], preface, &[preface.as_slice(), &[0xff; 512]].concat()];
    for bytes in frames {
        let mut stream = UnixStream::connect(node.socket()).expect("it listens");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let create = |request: CreateRequest| node.block_on(async { node.containers().create(request).await });
    let base = || CreateRequest {
        rootfs: rootfs::BUSYBOX.display().to_string(),
        command: vec!["true".into()],
        ..CreateRequest::default()
    };
    let long = "x".repeat(1 << 20);
    let wild = [
        CreateRequest { name: long.clone(), ..base() },
        CreateRequest { name: "a\0b".into(), ..base() },
        CreateRequest { runtime: "../../../bin/sh".into(), ..base() },
        CreateRequest { cgroup_parent: "/../../up".into(), ..base() },
        CreateRequest { env: vec!["no-equals-sign\0".into()], ..base() },
        CreateRequest { command: vec!["a\0b".into()], ..base() },
        CreateRequest { mounts: vec![Mount { kind: 77, target: "/x".into(), ..Mount::default() }], ..base() },
        CreateRequest {
            mounts: vec![Mount { source: "/tmp".into(), target: "relative".into(), ..Mount::default() }],
            ..base()
        },
        CreateRequest {
            resources: Some(Resources { memory: Some(-5), nano_cpus: Some(i64::MIN), ..Resources::default() }),
            ..base()
        },
        CreateRequest { rootfs: "/a\0b".into(), ..base() },
        CreateRequest { command: vec![], entrypoint: vec![], ..base() },
        CreateRequest { stop_signal: "-1".into(), ..base() },
    ];
    for (number, request) in wild.into_iter().enumerate() {
        let status = create(request).expect_err(&format!("wild request {number} is refused"));
        assert_eq!(status.code(), Code::InvalidArgument, "{number}: {status}");
    }
    // Only the start reads the profile.
    let id = create(CreateRequest { seccomp: "{".into(), ..base() }).expect("it is created").into_inner().id;
    let refusal = node.isula(&["start", &id]).refused(1);
    assert!(refusal.contains("invalid seccomp profile"), "{refusal}");
    let too_large = create(CreateRequest { labels: [("k".into(), "x".repeat(17 << 20))].into(), ..base() });
    assert!(too_large.is_err());
    node.create(&["--name", "x"], &["true"]);
    let kill = KillRequest { container: "x".into(), signal: "999".into() };
    let status = node.block_on(async { node.containers().kill(kill).await }).expect_err("there is no such signal");
    assert_eq!(status.code(), Code::InvalidArgument);
    let logs = LogsRequest { container: long, ..LogsRequest::default() };
    let status = node.block_on(async { node.containers().logs(logs).await }).expect_err("there is no such container");
    assert_eq!(status.code(), Code::NotFound);
    node.assert_clean_end();
}
