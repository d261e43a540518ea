//! TLS with a private authority, and a server that demands certificates of its clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use engine_images::registry::{Registry, Settings};

use super::images::Layout;
use super::server::Server;
use super::{error_text, resolve, run, run_again};

/// A directory with an authority (`ca`), and a `server` and a `client` that it vouches for: each `.crt` and `.key`.
fn authority() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        run(Command::new("openssl").args(arguments.split(' ')).current_dir(dir.path()));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"));
    fs::write(dir.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
    for name in ["server", "client"] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let by = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names";
        openssl(&format!("x509 -req -in {name}.csr -out {name}.crt {by}"));
    }
    dir
}

struct World {
    authority: tempfile::TempDir,
    server: Server,
    /// The name of an image that is there.
    name: String,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let authority = authority();
        let server = Server::with_tls(authority.path());
        let (name, dir) = (format!("{}/closed:1", server.address), tempfile::tempdir().unwrap());
        let world = Self { authority, server, name, dir };
        let certs = world.dir.path().join("of-skopeo");
        world.fill(&certs, &[("ca.crt", "ca.crt"), ("client.crt", "client.cert"), ("client.key", "client.key")]);
        Layout::single(1000).push(&world.name, &[&format!("--dest-cert-dir={}", certs.display())]);
        world
    }

    /// Copies files of the authority into a directory under other names, and nothing else is there.
    fn fill(&self, dir: &Path, files: &[(&str, &str)]) {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).unwrap();
        for (from, to) in files {
            fs::copy(self.authority.path().join(from), dir.join(to)).unwrap();
        }
    }

    /// Where certificates for the server are looked for.
    fn certs(&self) -> PathBuf {
        self.dir.path().join("certs.d").join(&self.server.address)
    }

    /// Verifies loopback addresses as it would others.
    fn registry(&self, change: impl Fn(&mut Settings)) -> Registry {
        let mut settings = super::settings(self.dir.path());
        settings.insecure_loopback = false;
        change(&mut settings);
        Registry::new(settings)
    }
}

#[tokio::test]
async fn an_authority_and_a_certificate_of_ones_own_are_used() {
    let world = World::new();
    let registry = world.registry(|_| {});
    let error = error_text(resolve(&registry, &world.name).await);
    assert!(error.contains("TLS") && error.contains("UnknownIssuer"), "{error}");

    world.fill(&world.certs(), &[("ca.crt", "ca.crt")]);
    let error = error_text(resolve(&registry, &world.name).await);
    assert!(error.contains("TLS") && error.contains("ertificate"), "the server wants to know us: {error}");

    for (certificate, key) in [("client.cert", "client.key"), ("other.cert", "other.key")] {
        world.fill(&world.certs(), &[("ca.crt", "any.crt"), ("client.crt", certificate), ("client.key", key)]);
        resolve(&registry, &world.name).await.unwrap();
    }

    world.fill(&world.certs(), &[("ca.crt", "ca.crt"), ("client.crt", "client.cert")]);
    let error = error_text(resolve(&registry, &world.name).await);
    assert!(error.contains("client.key"), "{error}");
}

#[tokio::test]
async fn an_insecure_registry_needs_no_authority_and_yet_gets_our_certificate() {
    let world = World::new();
    world.fill(&world.certs(), &[("client.crt", "client.cert"), ("client.key", "client.key")]);
    resolve(&world.registry(|settings| settings.insecure_loopback = true), &world.name).await.unwrap();
    for rule in ["127.0.0.1", &world.server.address, "127.0.0.0/8"] {
        let registry = world.registry(|settings| settings.insecure = vec![rule.parse().unwrap()]);
        resolve(&registry, &world.name).await.unwrap();
    }
    for rule in ["127.0.0.1:1", "10.0.0.0/8", "localhost"] {
        let registry = world.registry(|settings| settings.insecure = vec![rule.parse().unwrap()]);
        assert!(resolve(&registry, &world.name).await.is_err(), "{rule}");
    }
}

/// The system's authorities are found through the environment, so this runs itself again in another one.
#[tokio::test]
async fn a_system_without_authorities_is_enough_for_servers_with_their_own() {
    const AUTHORITIES: (&str, &str) = ("SSL_CERT_FILE", "/dev/null");
    if std::env::var_os(AUTHORITIES.0).is_none_or(|value| value != AUTHORITIES.1) {
        let this = "tls::a_system_without_authorities_is_enough_for_servers_with_their_own";
        return run_again(this, &[AUTHORITIES]);
    }
    let world = World::new();
    let registry = world.registry(|_| {});
    let error = error_text(resolve(&registry, &world.name).await);
    let place = world.certs().join("ca.crt");
    assert!(error.contains("ca-certificates") && error.contains(&place.display().to_string()), "{error}");
    let files = [("ca.crt", "ca.crt"), ("client.crt", "client.cert"), ("client.key", "client.key")];
    world.fill(&world.certs(), &files);
    resolve(&registry, &world.name).await.unwrap();
    // They are not needed without TLS, or without verification, either.
    resolve(&world.registry(|settings| settings.insecure_loopback = true), &world.name).await.unwrap();
    let plain = Server::plain();
    let name = format!("{}/image:1", plain.address);
    Layout::single(1000).push(&name, &["--dest-tls-verify=false"]);
    resolve(&world.registry(|settings| settings.insecure_loopback = true), &name).await.unwrap();
}
