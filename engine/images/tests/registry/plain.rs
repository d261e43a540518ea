//! Without TLS, which needs no permission on a loopback address.

use engine_images::manifest::document::{DOCKER_MANIFEST, OCI_MANIFEST};
use engine_images::manifest::{CONFIG_LIMIT, Document, ImageConfig, Manifest, Platform, digest_of};
use engine_images::registry::{Credentials, Registry, Resolved, Secret};

use super::images::Layout;
use super::server::Server;
use super::{error_text, receive, resolve, settings};

const NOT_TLS: &str = "--dest-tls-verify=false";

fn manifest(resolved: &Resolved) -> &Manifest {
    match &resolved.document {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => panic!("it is an index"),
    }
}

#[tokio::test]
async fn an_image_comes_as_it_was_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let (server, layout) = (Server::plain(), Layout::single(100_000));
    let name = format!("{}/some/image:1", server.address);
    layout.push(&name, &[NOT_TLS]);
    let registry = Registry::new(settings(dir.path()));

    let resolved = resolve(&registry, &name).await.unwrap();
    assert_eq!(resolved.media_type, OCI_MANIFEST);
    assert_eq!(layout.blobs[&resolved.digest], resolved.bytes);
    let manifest = manifest(&resolved);
    let config = registry.small_blob(&resolved.source, &manifest.config, CONFIG_LIMIT).await.unwrap();
    assert_eq!(config, layout.blobs[&manifest.config.digest]);
    assert_eq!(ImageConfig::parse(&config).unwrap().diff_ids.len(), 1);
    let layer = &manifest.layers[0].descriptor;
    assert_eq!(receive(&registry, &resolved.source, layer).await, layout.blobs[&layer.digest]);

    let by_digest = format!("{}/some/image@{}", server.address, resolved.digest);
    assert_eq!(resolve(&registry, &by_digest).await.unwrap().bytes, resolved.bytes);
    for absent in ["some/image:2", "none:1", &format!("some/image@{}", digest_of(b"none"))] {
        let error = error_text(resolve(&registry, &format!("{}/{absent}", server.address)).await);
        assert_eq!(error, format!("`{0}` does not have `{0}/{absent}`", server.address));
    }
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_a_platform() {
    let dir = tempfile::tempdir().unwrap();
    let (server, layout) = (Server::plain(), Layout::new(&["amd64", "arm64"], 1000));
    let name = format!("{}/multi:1", server.address);
    layout.push(&name, &[NOT_TLS]);
    let registry = Registry::new(settings(dir.path()));
    let resolved = resolve(&registry, &name).await.unwrap();
    let Document::Index(index) = &resolved.document else { panic!("it is no index") };
    for (architecture, (config, _)) in &layout.images {
        let platform: Platform = format!("linux/{architecture}").parse().unwrap();
        let chosen = platform.choose(index).unwrap();
        let bytes = registry.manifest(&resolved.source, chosen).await.unwrap();
        let Document::Manifest(manifest) = Document::parse(&bytes, Some(&chosen.media_type)).unwrap() else {
            panic!("it is no manifest")
        };
        assert_eq!(manifest.config.digest, *config);
    }
}

#[tokio::test]
async fn dockers_own_format_comes_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let (server, layout) = (Server::plain(), Layout::single(1000));
    let name = format!("{}/docker:1", server.address);
    layout.push(&name, &[NOT_TLS, "--format=v2s2"]);
    let registry = Registry::new(settings(dir.path()));
    let resolved = resolve(&registry, &name).await.unwrap();
    assert_eq!(resolved.media_type, DOCKER_MANIFEST);
    receive(&registry, &resolved.source, &manifest(&resolved).layers[0].descriptor).await;
}

#[tokio::test]
async fn a_registry_that_is_killed_and_comes_back_delivers_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    // More than the buffers between client and server can hold.
    let (mut server, layout) = (Server::plain(), Layout::single(16 << 20));
    let name = format!("{}/large:1", server.address);
    layout.push(&name, &[NOT_TLS]);
    let registry = Registry::new(settings(dir.path()));
    let resolved = resolve(&registry, &name).await.unwrap();
    let layer = &manifest(&resolved).layers[0].descriptor;
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut blob = registry
        .blob(&resolved.source, layer)
        .on_retry(move |retry| sender.send((retry.attempt, retry.received)).unwrap());
    let mut bytes = blob.next().await.unwrap().unwrap().to_vec();
    server.restart();
    while let Some(next) = blob.next().await {
        bytes.extend_from_slice(&next.unwrap());
    }
    assert!(bytes == layout.blobs[&layer.digest]);
    let (attempt, received) = receiver.try_recv().expect("the connection broke");
    assert!(attempt == 1 && received > 0 && received < layer.size);
}

#[tokio::test]
async fn a_registry_with_a_password_is_logged_in_to() {
    let dir = tempfile::tempdir().unwrap();
    let (server, layout) = (Server::with_password("me", "ge heim:1"), Layout::single(1000));
    let name = format!("{}/closed:1", server.address);
    layout.push(&name, &[NOT_TLS, "--dest-creds=me:ge heim:1"]);
    let registry = Registry::new(settings(dir.path()));

    let error = error_text(resolve(&registry, &name).await);
    assert!(error.contains("isula login"), "{error}");
    let given = Credentials::password("me", "ge heim:1");
    let resolved = registry.resolve(&name.parse().unwrap(), Some(&given)).await.unwrap();
    receive(&registry, &resolved.source, &manifest(&resolved).layers[0].descriptor).await;
    let wrong = Credentials::password("me", "falsch");
    let error = error_text(registry.resolve(&name.parse().unwrap(), Some(&wrong)).await);
    assert!(error.contains("wants a login") && !error.contains("falsch"), "{error}");

    let error = error_text(registry.login(&server.address, "me", &Secret::new("falsch")).await);
    assert_eq!(error, format!("login to `{}` failed: authentication required", server.address));
    assert!(resolve(&registry, &name).await.is_err());
    registry.login(&server.address, "me", &Secret::new("ge heim:1")).await.unwrap();
    resolve(&registry, &name).await.unwrap();
    registry.logout(&server.address).await.unwrap();
    assert!(resolve(&registry, &name).await.is_err());
}

#[tokio::test]
async fn credentials_of_other_tools_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let (server, layout) = (Server::with_password("me", "geheim"), Layout::single(1000));
    let kept = dir.path().join("others.json");
    let login = ["login", "--tls-verify=false", "-u", "me", "-p", "geheim", "--authfile"];
    super::run(std::process::Command::new("skopeo").args(login).arg(&kept).arg(&server.address));
    let name = format!("{}/closed:1", server.address);
    layout.push(&name, &[NOT_TLS, &format!("--authfile={}", kept.display())]);
    let mut settings = settings(dir.path());
    settings.other_auth_files = vec![dir.path().join("none.json"), kept];
    resolve(&Registry::new(settings), &name).await.unwrap();
}
