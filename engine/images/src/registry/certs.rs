//! `certs.d`: authorities to trust and certificates to show, by host.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::RegistryError;
use super::transport::authority;

/// The certificates for one host.
#[derive(Debug, Default)]
pub(super) struct Certs {
    pub authorities: Vec<Certificate>,
    pub identity: Option<Identity>,
}

/// Reads the certificates for this address: `<dir>/<host>` and `<dir>/<host>:<port>`, the latter alone if the port is
/// not the usual one. A missing directory is fine, an unusable file is an error.
pub(super) fn read(dir: &Path, url: &Url) -> Result<Certs, RegistryError> {
    let host = authority(url);
    let mut names = vec![host.clone()];
    if url.port().is_none()
        && let Some(port) = url.port_or_known_default()
    {
        names.push(format!("{host}:{port}"));
    }
    let mut certs = Certs::default();
    for name in names {
        read_directory(&dir.join(name), &mut certs)
            .map_err(|Unusable { path, problem }| RegistryError::Certificate { host: host.clone(), path, problem })?;
    }
    Ok(certs)
}

struct Unusable {
    path: PathBuf,
    problem: String,
}

fn read_directory(dir: &Path, certs: &mut Certs) -> Result<(), Unusable> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(dir, error)),
    };
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| unusable(dir, error))?;
    paths.sort();
    for path in &paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => certs.authorities.extend(authorities(path)?),
            Some("cert") => {
                let identity = identity(path, &path.with_extension("key"))?;
                // `client.cert` is the one that is meant if there are several.
                if certs.identity.is_none() || path.file_stem().is_some_and(|stem| stem == "client") {
                    certs.identity = Some(identity);
                }
            }
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(unusable(path, "there is a key, but no certificate of the same name (`.cert`)"));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Unusable> {
    let pem = std::fs::read(path).map_err(|error| unusable(path, error))?;
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unusable(path, "it is not PEM"))?;
        rustls::RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| unusable(path, format!("it holds no usable certificate ({error})")))?;
        authorities.push(Certificate::from_der(&certificate).map_err(|error| unusable(path, error))?);
    }
    if authorities.is_empty() { Err(unusable(path, "it holds no certificate in PEM")) } else { Ok(authorities) }
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, Unusable> {
    let mut pem = std::fs::read(cert).map_err(|error| unusable(cert, error))?;
    if CertificateDer::from_pem_slice(&pem).is_err() {
        return Err(unusable(cert, "it holds no certificate in PEM"));
    }
    let key_pem = std::fs::read(key).map_err(|error| unusable(key, error))?;
    if rustls::pki_types::PrivateKeyDer::from_pem_slice(&key_pem).is_err() {
        return Err(unusable(key, "it holds no private key in PEM"));
    }
    pem.push(b'\n');
    pem.extend(key_pem);
    Identity::from_pem(&pem).map_err(|error| unusable(cert, error))
}

fn unusable(path: &Path, problem: impl ToString) -> Unusable {
    Unusable { path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("h.example:5000");
        std::fs::create_dir(&host).unwrap();
        for (name, content) in files {
            std::fs::write(host.join(name), content).unwrap();
        }
        let url = "https://h.example:5000/".parse().unwrap();
        read(dir.path(), &url).err().map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn unusable_certificates_are_named() {
        assert_eq!(problem(&[]), "");
        assert_eq!(problem(&[("README", "nothing of interest")]), "");
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for files in [
            &[("ca.crt", "garbage")][..],
            &[("other.crt", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")],
            &[("other.crt", empty)],
            &[("client.cert", "garbage")],
            &[("client.cert", empty)],
            &[("client.key", "garbage")],
        ] {
            let problem = problem(files);
            assert!(
                problem.contains("h.example:5000/") && problem.contains(files[0].0.split('.').next().unwrap()),
                "{problem}"
            );
        }
    }
}
