//! A registry on loopback: Debian's `docker-registry` on a port and a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::authority::{self, Authority};
use crate::binaries;
use crate::command::tool;
use crate::companion::Companion;
use crate::images::Image;

/// The registry that all tests share: without accounts or TLS, never shut down. A test that pushes takes a repository
/// of its own.
pub static SHARED: LazyLock<Registry> = LazyLock::new(Registry::start);

/// A registry to be.
#[derive(Debug, Default)]
pub struct RegistryBuilder {
    account: Option<(String, String)>,
    tls: bool,
    client_certificates: bool,
}

impl RegistryBuilder {
    /// Only this account may read or write.
    #[must_use]
    pub fn account(mut self, user: &str, password: &str) -> Self {
        self.account = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// HTTPS, with a certificate that an authority of its own has signed.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// HTTPS, only for clients that show a certificate of its authority.
    #[must_use]
    pub fn client_certificates(mut self) -> Self {
        self.tls = true;
        self.client_certificates = true;
        self
    }

    /// # Panics
    /// When it does not serve.
    pub fn start(self) -> Registry {
        let dir = Companion::directory();
        let authority = self.tls.then(|| Authority::make(&dir.join("tls")));
        let mut http = json!({"addr": "127.0.0.1:0", "secret": "none"});
        if let Some(authority) = &authority {
            http["tls"] = json!({"certificate": authority.certificate("server"), "key": authority.key("server")});
            if self.client_certificates {
                http["tls"]["clientcas"] = json!([authority.certificate("ca")]);
            }
        }
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": dir.join("storage")},
                "delete": {"enabled": true},
                "maintenance": {"uploadpurging": {"enabled": false}},
            },
            "http": http,
        });
        if let Some((user, password)) = &self.account {
            let file = dir.join("htpasswd");
            let line = tool(&["htpasswd", "-nbB", user, password]);
            fs::write(&file, line.trim().to_owned() + "\n").expect("the directory is ours");
            config["auth"] = json!({"htpasswd": {"realm": "the tests", "path": file}});
        }
        let file = dir.join("config.yml");
        // JSON is YAML.
        fs::write(&file, config.to_string()).expect("the directory is ours");
        let program = binaries::required("docker-registry");
        let (companion, port) = Companion::start(&dir, &[program.as_os_str(), "serve".as_ref(), file.as_ref()], port);
        let certificate = self.client_certificates;
        Registry { companion, port, authority, account: self.account, client_certificates: certificate }
    }
}

/// The port in `… msg="listening on 127.0.0.1:41203, tls" …`.
fn port(line: &str) -> Option<u16> {
    let rest = line.split_once("listening on 127.0.0.1:")?.1;
    rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
}

/// A registry that serves; ends when dropped.
#[derive(Debug)]
pub struct Registry {
    companion: Companion,
    port: u16,
    authority: Option<Authority>,
    account: Option<(String, String)>,
    client_certificates: bool,
}

impl Registry {
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Plain HTTP, without accounts.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// `127.0.0.1:<port>`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The full name of something in it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host())
    }

    /// Its host by a name, for nodes that know it: see [`crate::NodeBuilder::host`].
    pub fn named_host(&self) -> String {
        format!("{}:{}", authority::NAME, self.port)
    }

    /// The signer of its certificate.
    ///
    /// # Panics
    /// When it has none.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("this registry has TLS")
    }

    /// Copies an image there under `name` (`repository:tag`) with skopeo.
    pub fn push(&self, image: &Image, name: &str) {
        self.push_with(&image.source(), name, &[]);
    }

    /// The same from any of skopeo's sources, with further flags.
    pub fn push_with(&self, source: &str, name: &str, flags: &[&str]) {
        let target = format!("docker://{}", self.name(name));
        let account = self.account.iter().map(|(user, password)| format!("--dest-creds={user}:{password}"));
        let mut words = vec!["skopeo".to_owned(), "copy".into(), "--quiet".into(), "--insecure-policy".into()];
        words.extend(["--dest-tls-verify=false".to_owned()].into_iter().chain(account));
        if self.client_certificates {
            words.push(format!("--dest-cert-dir={}", self.client_directory().display()));
        }
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        words.extend([source.to_owned(), target]);
        tool(&words);
    }

    /// A directory as below `certs.d`: `ca.crt`, `client.cert`, `client.key`.
    pub fn client_directory(&self) -> PathBuf {
        let dir = self.companion.dir().join("client");
        self.write_certificates(&dir, true);
        dir
    }

    /// Writes `ca.crt` to `dir` and, if wanted, `client.cert` and `client.key`.
    pub fn write_certificates(&self, dir: &Path, client: bool) {
        fs::create_dir_all(dir).expect("the directory is the test's");
        let copy = |from: PathBuf, to: &str| fs::copy(from, dir.join(to)).expect("certificates can be copied");
        copy(self.authority().certificate("ca"), "ca.crt");
        if client {
            copy(self.authority().certificate("client"), "client.cert");
            copy(self.authority().key("client"), "client.key");
        }
    }

    /// The raw manifest or index under a name, as skopeo finds it.
    pub fn raw(&self, name: &str) -> Value {
        let source = format!("docker://{}", self.name(name));
        let text = tool(&["skopeo", "inspect", "--tls-verify=false", "--raw", &source]);
        serde_json::from_str(&text).expect("a manifest is JSON")
    }

    /// The file with a blob's bytes, for tests that take it away or change it.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let blobs = self.companion.dir().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}
