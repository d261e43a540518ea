//! Access to registries: TLS, certificates, accounts and tokens; and the places without secrets.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use base64::prelude::{BASE64_STANDARD, Engine};
use integration::images::BASIC;
use integration::{Fault, Faulty, Node, Output, Registry, authority, command, deadline, registry};
use serde_json::json;

use super::{builder, files, id, listed, pushed};

const USER: &str = "someone";
const PASSWORD: &str = "correct-horse-battery";

/// A node that trusts only the certificates in its `certs.d`. Loopback is trusted anyhow, a name for it is not.
fn strict() -> Node {
    let mut node = builder().config("insecure-registries", json!([])).host(authority::NAME).build();
    let certificates = certificates(&node, "");
    node.set("certs-dir", json!(certificates));
    node.launch();
    node
}

fn certificates(node: &Node, host: &str) -> PathBuf {
    node.dir().join("certs.d").join(host)
}

#[test]
fn over_tls() {
    let node = strict();
    let registry = Registry::builder().tls().start();
    registry.push(&BASIC, "secure/busybox:1");
    let name = format!("{}/secure/busybox:1", registry.named_host());
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains("certificate"), "{refusal}");
    assert!(refusal.contains("certs.d") && refusal.contains(&registry.named_host()), "the way out is named: {refusal}");
    registry.write_certificates(&certificates(&node, &registry.named_host()), false);
    node.ok(&["pull", &name]);
    assert_eq!(id(&node, &name), BASIC.id());
    // A certificate that cannot be read is an error, not passed over.
    let file = certificates(&node, &registry.named_host()).join("ca.crt");
    fs::write(&file, "not a certificate").expect("it is ours");
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains(&file.display().to_string()), "{refusal}");
    // Loopback is this machine itself.
    node.ok(&["pull", &registry.name("secure/busybox:1")]);
    node.assert_clean_end();

    // Without looking at the certificate, where that is allowed.
    let allowed = json!([authority::NAME]);
    let careless = builder().config("insecure-registries", allowed).host(authority::NAME).start();
    careless.ok(&["pull", &name]);
    careless.assert_clean_end();
}

#[test]
fn plain_http_only_where_that_is_allowed() {
    let name = pushed(&BASIC, "plain-http:1").replace("127.0.0.1", authority::NAME);
    let node = strict();
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains(&registry::SHARED.named_host()), "{refusal}");
    assert!(refusal.contains("insecure-registries"), "the way out is named: {refusal}");
    super::assert_nothing_of_images(&node);
    // By the range that the name's address is in.
    let careless = builder().host(authority::NAME).start();
    careless.ok(&["pull", &name]);
    careless.assert_clean_end();
}

#[test]
fn with_a_client_certificate() {
    let node = strict();
    let registry = Registry::builder().client_certificates().start();
    registry.push(&BASIC, "mutual:1");
    let name = format!("{}/mutual:1", registry.named_host());
    let dir = certificates(&node, &registry.named_host());
    registry.write_certificates(&dir, false);
    node.isula(&["pull", &name]).refused(1);
    registry.write_certificates(&dir, true);
    node.ok(&["pull", &name]);
    assert_eq!(id(&node, &name), BASIC.id());
    fs::remove_file(dir.join("client.key")).expect("it is there");
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains("client.key"), "{refusal}");
    node.assert_clean_end();
}

/// `isula login`, with the password on its standard input.
fn login(node: &Node, user: &str, password: &str, server: &str) -> Output {
    let mut command = node.command(&["login", "-u", user, "--password-stdin", server]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("isula runs");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(format!("{password}\n").as_bytes()).expect("it reads");
    drop(input);
    command::finish(child, deadline::PATIENCE).expect("it ends")
}

fn auth_file(node: &Node) -> PathBuf {
    node.graph().join("auth.json")
}

#[test]
fn with_an_account() {
    let mut node = builder().config("log-level", json!("trace")).start();
    let registry = Registry::builder().account(USER, PASSWORD).start();
    registry.push(&BASIC, "private:1");
    let name = registry.name("private:1");
    let host = registry.host();
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains("isula login"), "the way out is named: {refusal}");

    let wrong = login(&node, USER, "wrong-guess", &host).refused(1);
    assert!(wrong.contains(&host) && !wrong.contains("wrong-guess"), "{wrong}");
    assert!(!auth_file(&node).exists(), "a refused account is not kept");
    assert_eq!(login(&node, USER, PASSWORD, &host).ok(), "Login Succeeded");
    let mode = fs::metadata(auth_file(&node)).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    node.ok(&["pull", &name]);
    // The account is for this registry only, and outlasts the daemon.
    node.restart();
    node.ok(&["rmi", &name]);
    node.ok(&["pull", &name]);
    let stranger = Faulty::before(&registry);
    node.isula(&["pull", &stranger.name("private:1")]).refused(1);
    assert_eq!(stranger.count(|seen| seen.authorization.is_some()), 0, "no other registry gets it");

    for _ in 0..2 {
        assert_eq!(node.ok(&["logout", &host]), "Logout Succeeded");
    }
    node.ok(&["rmi", &name]);
    node.isula(&["pull", &name]).refused(1);
    // By a flag it works too, with a warning.
    let output = node.isula(&["login", "-u", USER, "-p", PASSWORD, &host]);
    assert!(output.stderr.to_lowercase().contains("password-stdin"), "{}", output.stderr);
    assert_eq!(output.ok(), "Login Succeeded");
    node.ok(&["pull", &name]);
    node.run_detached(&["--name", "x"], &["true"]);
    no_secrets(&node);
    node.assert_clean_end();
}

/// Neither the password nor its form on the wire is anywhere but in the one file for it.
fn no_secrets(node: &Node) {
    let encoded = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let secrets = [PASSWORD, &encoded, "token-of-the-tests"];
    let log = node.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is detailed");
    for secret in secrets {
        assert!(!log.contains(secret), "`{secret}` is in the log");
        let events = node.ok(&["events", "--since", "seq:1", "--format", "json"]);
        assert!(!events.contains(secret), "`{secret}` is in an event");
        for file in files(&node.graph()).iter().chain(&files(&node.state())) {
            let bytes = fs::read(file).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found || *file == auth_file(node), "`{secret}` is in {}", file.display());
        }
    }
}

#[test]
fn with_a_token() {
    let node = builder().config("log-level", json!("trace")).start();
    let name = pushed(&BASIC, "by-token:1");
    let faulty = Faulty::before(&registry::SHARED);
    faulty.require_token(USER, PASSWORD);
    let name = name.replace(&registry::SHARED.host(), &faulty.host());
    node.isula(&["pull", &name]).refused(1);
    login(&node, USER, "wrong-guess", &faulty.host()).refused(1);
    assert_eq!(login(&node, USER, PASSWORD, &faulty.host()).ok(), "Login Succeeded");
    faulty.forget();
    // A blob that is kept elsewhere: the other place does not get the token.
    let elsewhere = Faulty::before(&registry::SHARED);
    let layer = BASIC.layers()[0].0.clone();
    let location = format!("http://{}/v2/by-token/blobs/{layer}", elsewhere.host());
    faulty.once(move |seen| seen.gets_blob(&layer), Fault::Status(307, vec![("Location".into(), location)]));
    node.ok(&["pull", &name]);
    assert_eq!(id(&node, &name), BASIC.id());
    let seen = elsewhere.seen();
    let layer = &BASIC.layers()[0].0;
    assert!(seen.iter().any(|seen| seen.gets_blob(layer)), "it was fetched there");
    assert!(seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
    let tokens = faulty.seen();
    let password =
        |seen: &&integration::faulty::Request| seen.authorization.as_deref().is_some_and(|it| it.starts_with("Basic"));
    assert!(tokens.iter().filter(password).all(|seen| seen.path.starts_with("/token")), "{tokens:?}");
    no_secrets(&node);
    node.assert_clean_end();
}

#[test]
fn logins_that_make_no_sense() {
    let node = super::node();
    let nobody = "127.0.0.1:1";
    let refusal = login(&node, USER, PASSWORD, nobody).refused(1);
    assert!(refusal.contains(nobody) && !refusal.contains(PASSWORD), "{refusal}");
    assert_ne!(login(&node, USER, "", nobody).code(), 0);
    assert_ne!(node.isula(&["login", "-u", USER, "-p", "x", "--password-stdin", nobody]).code(), 0);
    assert_ne!(node.isula(&["login", "-u", USER, "-p", "x", "not a server/"]).code(), 0);
    // An account that is not needed is kept all the same; a logout without an account is reported.
    assert_eq!(login(&node, USER, PASSWORD, &registry::SHARED.host()).ok(), "Login Succeeded");
    let name = pushed(&BASIC, "needless:1");
    node.ok(&["pull", &name]);
    assert_eq!(listed(&node).len(), 1);
    node.assert_clean_end();
}
