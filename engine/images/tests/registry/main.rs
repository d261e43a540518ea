//! The registry client against a real registry: Debian's `docker-registry`, filled by `skopeo`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod images;
mod plain;
mod proxy;
mod server;
mod tls;

use std::path::Path;
use std::process::Command;

use engine_images::manifest::{Descriptor, digest_of};
use engine_images::registry::{Registry, RegistryError, Resolved, Settings, Source};

/// Runs this test alone again, with these variables in its environment and no others that matter.
fn run_again(test: &str, variables: &[(&str, &str)]) {
    let mut again = Command::new(std::env::current_exe().unwrap());
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY"]
    {
        again.env_remove(name);
    }
    let output = run(again.args(["--exact", test]).envs(variables.iter().copied()));
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains("1 passed"), "{output}");
}

/// Runs a tool to its end and returns its output. Panics with the output if the tool fails or is missing.
fn run(command: &mut Command) -> Vec<u8> {
    let tool = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "`{}` cannot be run: {error}; these tests need docker-registry, skopeo, apache2-utils and openssl",
            tool.display()
        )
    });
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}{}", texts[0], texts[1]);
    output.stdout
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::new(dir.join("certs.d"), dir.join("auth.json"));
    settings.other_auth_files = Vec::new();
    settings
}

async fn resolve(registry: &Registry, name: &str) -> Result<Resolved, RegistryError> {
    registry.resolve(&name.parse().unwrap(), None).await
}

/// A whole blob, verified.
async fn receive(registry: &Registry, source: &Source, descriptor: &Descriptor) -> Vec<u8> {
    let mut blob = registry.blob(source, descriptor);
    let mut bytes = Vec::new();
    while let Some(next) = blob.next().await {
        bytes.extend_from_slice(&next.unwrap());
    }
    assert_eq!(digest_of(&bytes), descriptor.digest);
    bytes
}

fn error_text<T: std::fmt::Debug>(outcome: Result<T, RegistryError>) -> String {
    engine_host::cause::chain(&outcome.expect_err("it was to fail"))
}
