//! A certificate authority of our own, made with `openssl` for one test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::tool;

/// A name of the server beside those of loopback.
pub const NAME: &str = "registry.test";

/// A directory with `ca.crt` and the certificates that it has signed.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes one, with a certificate `server` for this machine's loopback and one named `client`.
    pub fn make(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("the directory is the test's");
        let authority = Self { dir: dir.to_owned() };
        let (key, certificate) = (authority.text("ca.key"), authority.text("ca.crt"));
        let subject = "/CN=authority of the tests";
        openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
            &["-subj", subject, "-keyout", &key, "-out", &certificate],
        );
        authority.sign(
            "server",
            &format!("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:{NAME}\nextendedKeyUsage=serverAuth\n"),
        );
        authority.sign("client", "extendedKeyUsage=clientAuth\n");
        authority
    }

    fn sign(&self, name: &str, extensions: &str) {
        let file = |suffix: &str| self.text(&format!("{name}.{suffix}"));
        fs::write(file("ext"), extensions).expect("the directory is ours");
        let subject = format!("/CN={name}");
        openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            &["-subj", &subject, "-keyout", &file("key"), "-out", &file("csr")],
        );
        let (ca, ca_key) = (self.text("ca.crt"), self.text("ca.key"));
        openssl(
            &["x509", "-req", "-days", "2", "-CAcreateserial", "-CA", &ca, "-CAkey", &ca_key],
            &["-in", &file("csr"), "-extfile", &file("ext"), "-out", &file("crt")],
        );
    }

    /// The path of a certificate: `ca`, `server` or `client`.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }

    /// The path of a key: `server` or `client`.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    fn text(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

fn openssl(first: &[&str], then: &[&str]) {
    tool(&[&["openssl"], first, then].concat());
}
