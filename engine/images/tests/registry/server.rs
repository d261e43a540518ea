//! A registry of these tests on a loopback address, with its data in a temporary directory.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) struct Server {
    dir: tempfile::TempDir,
    config: Value,
    child: Child,
    /// `127.0.0.1:<port>`
    pub address: String,
}

impl Server {
    pub(crate) fn plain() -> Self {
        Self::new(|_| json!({}), |_| json!({}))
    }

    /// Wants this user and password.
    pub(crate) fn with_password(user: &str, password: &str) -> Self {
        let line = super::run(Command::new("htpasswd").args(["-Bbn", user, password]));
        let auth = move |dir: &Path| {
            let path = dir.join("htpasswd");
            std::fs::write(&path, &line).unwrap();
            json!({ "htpasswd": { "realm": "test", "path": path } })
        };
        Self::new(auth, |_| json!({}))
    }

    /// Speaks TLS with `server.crt` and `server.key` of that directory, to clients with certificates of its `ca.crt`.
    pub(crate) fn with_tls(certs: &Path) -> Self {
        let file = |name: &str| certs.join(name);
        let tls = json!({
            "certificate": file("server.crt"), "key": file("server.key"), "clientcas": [file("ca.crt")],
        });
        Self::new(|_| json!({}), move |_| tls.clone())
    }

    fn new(auth: impl Fn(&Path) -> Value, tls: impl Fn(&Path) -> Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = json!({
            "version": 0.1,
            "log": { "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": dir.path().join("data") } },
            "http": { "addr": "127.0.0.1:0", "secret": "none", "tls": tls(dir.path()) },
        });
        let auth = auth(dir.path());
        if auth != json!({}) {
            config["auth"] = auth;
        }
        let (child, address) = start(dir.path(), &config);
        Self { dir, config, child, address }
    }

    /// Kills it and starts it again at the same place.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.config["http"]["addr"] = self.address.clone().into();
        (self.child, self.address) = start(self.dir.path(), &self.config);
    }

    pub(crate) fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(dir: &Path, config: &Value) -> (Child, String) {
    let path: PathBuf = dir.join("config.yml");
    // JSON is YAML.
    std::fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("`docker-registry` cannot be run: {error}; install the package of that name"));
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = String::new();
        for line in lines.map_while(Result::ok) {
            output = output + &line + "\n";
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split(['"', ',']).next().unwrap_or_default().to_owned();
                let _ = sender.send(Ok(address));
            }
        }
        // It has ended. After an address the receiver may be gone.
        let _ = sender.send(Err(output));
    });
    let outcome = receiver.recv_timeout(Duration::from_secs(60)).expect("docker-registry does not listen");
    (child, outcome.unwrap_or_else(|output| panic!("docker-registry has ended: {output}")))
}
