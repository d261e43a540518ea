//! Requests of any length do not delay other requests: they are refused by a limit, or answered in a time that grows as
//! they do.

use cri_api::isula::v1::{CreateRequest, ListRequest, ListVolumesRequest, Mount, mount};
use integration::{Node, Runtime, deadline, rootfs};
use tonic::Code;

fn request(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.to_owned(),
        rootfs: rootfs::BUSYBOX.display().to_string(),
        command: vec!["true".to_owned()],
        ..CreateRequest::default()
    }
}

/// As many as a request may have; each a few bytes.
fn huge(name: &str) -> CreateRequest {
    let env = (0..60_000).map(|n| format!("VARIABLE{n}=x")).collect();
    let labels = (0..60_000).map(|n| (format!("label{n}"), String::new())).collect();
    let mount = |n| Mount { source: "/etc".to_owned(), target: format!("/mnt/{n}"), ..Mount::default() };
    CreateRequest { env, labels, mounts: (0..10_000).map(mount).collect(), ..request(name) }
}

#[test]
fn huge_creations_delay_no_request() {
    let node = Node::start(Runtime::Runc);
    let creating = |name: &'static str| {
        let mut client = node.containers();
        async move { client.create(huge(name)).await.map(|created| created.into_inner().id) }
    };
    let mut lists = 0;
    let created = node.block_on(async {
        let mut client = node.containers();
        let mut creating = std::pin::pin!(async { tokio::join!(creating("a"), creating("b"), creating("c")) });
        loop {
            tokio::select! {
                biased;
                created = &mut creating => break created,
                listed = client.list(ListRequest { all: true, ..ListRequest::default() }) => {
                    listed.expect("it is answered");
                    lists += 1;
                }
            }
        }
    });
    for id in [created.0, created.1, created.2] {
        id.expect("it is within the limits");
    }
    assert!(lists > 3, "{lists} lists were answered meanwhile");
    assert_eq!(node.inspect("a")["Config"]["Env"].as_array().map(Vec::len), Some(60_000));
    assert_eq!(node.ok(&["rm", "a", "b", "c"]), "a\nb\nc");
    node.assert_clean_end();
}

/// While its volumes are being made the client goes: then they are removed again, and there is no container.
#[test]
fn a_creation_without_its_client_is_undone() {
    let node = Node::start(Runtime::Runc);
    let mount = |n| Mount { kind: mount::Kind::Volume.into(), target: format!("/v/{n}"), ..Mount::default() };
    let request = CreateRequest { mounts: (0..10_000).map(mount).collect(), ..request("gone") };
    let creating = async {
        let created = node.containers().create(request).await;
        panic!("it was to take longer: {created:?}");
    };
    let volumes = || node.ok(&["volume", "ls", "-q"]).lines().count();
    let begun = async {
        let mut client = node.volumes();
        while client.list(ListVolumesRequest::default()).await.expect("it is served").into_inner().volumes.is_empty() {}
    };
    node.block_on(async {
        tokio::select! {
            () = creating => {}
            () = begun => {}
        }
    });
    deadline::until("nothing is left of it", || volumes() == 0 && node.ok(&["ps", "-aq"]).is_empty());
    node.create(&["--name", "gone"], &["true"]);
    node.assert_clean_end();
}

#[test]
fn requests_beyond_the_limits_are_refused() {
    let node = Node::start(Runtime::Runc);
    let refused = |request: CreateRequest| {
        let status = node.block_on(async { node.containers().create(request).await }).expect_err("it is too much");
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    };
    let env = vec!["A=b".to_owned(); 65_537];
    assert_eq!(
        refused(CreateRequest { env, ..request("x") }),
        "a container can have 65536 environment variables at most, not 65537"
    );
    let env = vec![format!("A={}", "x".repeat(1 << 20))];
    assert!(refused(CreateRequest { env, ..request("x") }).starts_with("environment variable `A` has 1048578 bytes"));
    let mounts = vec![Mount::default(); 16_385];
    assert!(refused(CreateRequest { mounts, ..request("x") }).contains("16384 mounts at most"));
    assert_eq!(node.ok(&["ps", "-aq"]), "");
    node.assert_clean_end();
}
