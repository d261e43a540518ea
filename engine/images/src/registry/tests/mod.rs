//! The client against a registry that misbehaves. No network but loopback.

mod auth;
mod blobs;
mod fake;
mod manifests;
mod mirrors;

use std::path::Path;
use std::time::Duration;

use self::fake::{Asked, Fake, Reply};
use super::*;
use crate::manifest::document::{OCI_CONFIG, OCI_MANIFEST};
use crate::manifest::{Descriptor, digest_of};

/// Short pauses; a stall is noticed only where there is one, however busy the machine.
fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(10),
        header: Duration::from_secs(10),
        stall: Duration::from_secs(30),
        backoff: Duration::from_millis(1),
        longest_backoff: Duration::from_millis(2),
        longest_retry_after: Duration::from_millis(5),
        ..Patience::default()
    }
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::new(dir.join("certs.d"), dir.join("auth.json"));
    settings.other_auth_files = Vec::new();
    settings.patience = patience();
    settings
}

/// A registry client without stored credentials.
fn registry() -> Registry {
    Registry::new(settings(Path::new("/nonexistent")))
}

/// The same, for replies that stall: long enough for a busy machine to send those that do not.
fn impatient() -> Registry {
    let mut settings = settings(Path::new("/nonexistent"));
    settings.patience.stall = Duration::from_secs(2);
    Registry::new(settings)
}

/// `127.0.0.1:<port>/a/b:t`
fn name(fake: &Fake) -> String {
    format!("{}/a/b:t", fake.address)
}

/// A manifest without layers.
fn manifest() -> Vec<u8> {
    let config = Descriptor::of(OCI_CONFIG, b"{}");
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": { "mediaType": OCI_CONFIG, "digest": config.digest.to_string(), "size": config.size },
    });
    json.to_string().into_bytes()
}

fn manifest_reply() -> Reply {
    Reply::ok(manifest()).with("Content-Type", OCI_MANIFEST)
}

/// Answers for manifests, and asks `blob` for everything else.
async fn with_blobs(blob: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::new(move |asked| if asked.path.contains("/manifests/") { manifest_reply() } else { blob(asked) }).await
}

async fn resolve(registry: &Registry, name: &str) -> Result<Resolved, RegistryError> {
    registry.resolve(&name.parse().unwrap(), None).await
}

/// The text of the error as a user sees it.
fn error_text<T: std::fmt::Debug>(outcome: Result<T, RegistryError>) -> String {
    engine_host::cause::chain(&outcome.expect_err("it was to fail"))
}

/// Bytes that differ from place to place.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn describe(content: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", content)
}
