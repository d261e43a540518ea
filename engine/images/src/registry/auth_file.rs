//! Files that hold credentials: the daemon's own, which `login` and `logout` change, and those of other tools.
//!
//! The format is the one that all tools share: `{"auths": {"<server>": {"auth": "<base64 of user:password>"}}}`. A
//! server may be written with a scheme or a path; the entry with the longest matching path counts.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::credentials::{Credentials, decode, encode};
use super::{RegistryError, Secret};
use crate::reference::DEFAULT_REGISTRY;
use engine_host::fs::write_atomically;

/// The key of other tools for docker.io.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// A whole file; keys that the engine does not know are kept.
struct AuthFile(Map<String, Value>);

/// The credentials for an image's repository (`host/path`) or a server, from the first file that has some. A damaged
/// file is an error if it is our `own`; others' are passed over.
pub(super) fn find(own: &Path, others: &[impl AsRef<Path>], name: &str) -> Result<Option<Credentials>, RegistryError> {
    if let Some(found) = AuthFile::read(own)?.find(own, name)? {
        return Ok(Some(found));
    }
    for path in others {
        let path = path.as_ref();
        match AuthFile::read(path).and_then(|file| file.find(path, name)) {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) => tracing::warn!("{}; it is passed over", engine_host::cause::chain(&error)),
        }
    }
    Ok(None)
}

pub(super) fn keep(path: &Path, server: &str, user: &str, password: &Secret) -> Result<(), RegistryError> {
    let mut file = AuthFile::read(path)?;
    let entry = json!({ "auth": encode(user, password).expose() });
    file.remove(server);
    let auths = file.0.entry("auths").or_insert_with(|| json!({}));
    if let Value::Object(auths) = auths {
        auths.insert(server.to_owned(), entry);
    } else {
        *auths = json!({ server: entry });
    }
    file.write(path)
}

/// Removes the server's entry. Returns whether there was one.
pub(super) fn forget(path: &Path, server: &str) -> Result<bool, RegistryError> {
    let mut file = AuthFile::read(path)?;
    if !file.remove(server) {
        return Ok(false);
    }
    file.write(path)?;
    Ok(true)
}

impl AuthFile {
    /// An absent file is an empty one.
    fn read(path: &Path) -> Result<Self, RegistryError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(Map::new())),
            Err(source) => return Err(RegistryError::ReadAuthFile { path: path.to_owned(), source }),
        };
        let damaged = |source| RegistryError::DamagedAuthFile { path: path.to_owned(), source };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(damaged)
    }

    fn write(&self, path: &Path) -> Result<(), RegistryError> {
        let bytes = serde_json::to_vec_pretty(&self.0).expect("a JSON object can be written");
        // Where the operator has put a link, the file that it leads to is the one to replace.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        write_atomically(&real, &bytes, 0o600, true).map_err(|source| RegistryError::WriteAuthFile { source })
    }

    fn auths(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get("auths").and_then(Value::as_object).into_iter().flatten()
    }

    fn find(&self, path: &Path, name: &str) -> Result<Option<Credentials>, RegistryError> {
        if self.0.contains_key("credsStore") || self.0.contains_key("credHelpers") {
            tracing::debug!("`{}` names credential helpers, which are not asked", path.display());
        }
        let mut best: Option<(usize, Credentials)> = None;
        for (key, entry) in self.auths() {
            let server = normalise(key);
            let matches = name.strip_prefix(&server).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if !matches || best.as_ref().is_some_and(|(length, _)| *length >= server.len()) {
                continue;
            }
            let found = credentials(entry).map_err(|problem| RegistryError::DamagedCredentials {
                path: path.to_owned(),
                server: key.clone(),
                problem,
            })?;
            // An empty entry stands for credentials that a helper has.
            best = found.map(|found| (server.len(), found)).or(best);
        }
        Ok(best.map(|(_, found)| found))
    }

    /// Removes the entry in any of its spellings.
    fn remove(&mut self, server: &str) -> bool {
        let Some(Value::Object(auths)) = self.0.get_mut("auths") else { return false };
        let before = auths.len();
        auths.retain(|key, _| normalise(key) != server);
        auths.len() != before
    }
}

fn credentials(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let decoded = text("auth").map(decode).transpose();
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::RegistryToken { token: Secret::new(token) }));
    }
    if let Some(token) = text("identitytoken") {
        let user = decoded.ok().flatten().map(|(user, _)| user).unwrap_or_default();
        return Ok(Some(Credentials::IdentityToken { user, token: Secret::new(token) }));
    }
    if let Some((user, password)) = decoded? {
        return Ok(Some(Credentials::Password { user, password }));
    }
    // An old way of writing it.
    Ok(text("username").zip(text("password")).map(|(user, password)| Credentials::password(user, password)))
}

/// A server's key without scheme, API version and other names of docker.io.
pub(super) fn normalise(key: &str) -> String {
    let key = key.trim();
    if key == DOCKER_KEY {
        return DEFAULT_REGISTRY.to_owned();
    }
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let bare = ["/v1", "/v2"].iter().find_map(|version| bare.strip_suffix(version)).unwrap_or(bare);
    for alias in ["index.docker.io", "registry-1.docker.io"] {
        match bare.strip_prefix(alias) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => return format!("{DEFAULT_REGISTRY}{rest}"),
            Some(_) | None => {}
        }
    }
    bare.to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(dir: &Path, name: &str, content: &str) -> std::path::PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn user(found: Result<Option<Credentials>, RegistryError>) -> Option<String> {
        found.unwrap().map(|found| match found {
            Credentials::Password { user, password } => format!("{user}:{}", password.expose()),
            Credentials::IdentityToken { user, token } => format!("{user}#{}", token.expose()),
            Credentials::RegistryToken { token } => format!("={}", token.expose()),
        })
    }

    #[test]
    fn stored_credentials_are_found_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let none: [&Path; 0] = [];
        assert!(!forget(&path, "h.x:5000").unwrap());
        keep(&path, "h.x:5000", "me", &Secret::new("geheim")).unwrap();
        keep(&path, "docker.io", "you", &Secret::new("x")).unwrap();
        keep(&path, "h.x:5000", "me", &Secret::new("neu")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(user(find(&path, &none, "h.x:5000/a/b")).unwrap(), "me:neu");
        assert_eq!(user(find(&path, &none, "h.x:5001/a/b")), None);
        assert_eq!(user(find(&path, &none, "h.x:50000/a/b")), None);
        assert!(forget(&path, "h.x:5000").unwrap() && !forget(&path, "h.x:5000").unwrap());
        assert_eq!(user(find(&path, &none, "docker.io/library/x")).unwrap(), "you:x");
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("auth.json"), written(dir.path(), "real.json", "{}"));
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        keep(&link, "h.x", "me", &Secret::new("geheim")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(user(find(&real, &[] as &[&Path], "h.x/a")).unwrap(), "me:geheim");
    }

    #[test]
    fn the_longest_path_counts_in_any_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(
            dir.path(),
            "auth.json",
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"aHViOjE="},
                "q.x":{"auth":"aG9zdDox"},
                "q.x/a":{"auth":"b3JnOjE="},
                "https://q.x/a/b/":{"auth":"cmVwbzox"},
                "q.x/empty":{},
                "i.x":{"auth":"bWU6","identitytoken":"tok"},
                "r.x":{"registrytoken":"reg"},
                "old.x":{"username":"u","password":"p"}
            },"credsStore":"desktop","HttpHeaders":{}}"#,
        );
        let none: [&Path; 0] = [];
        for (name, expected) in [
            ("docker.io/library/x", Some("hub:1")),
            ("q.x/c", Some("host:1")),
            ("q.x/a", Some("org:1")),
            ("q.x/ab", Some("host:1")),
            ("q.x/a/b", Some("repo:1")),
            ("q.x/a/b/c", Some("repo:1")),
            ("q.x/empty/e", Some("host:1")),
            ("i.x/e", Some("me#tok")),
            ("r.x/e", Some("=reg")),
            ("old.x/e", Some("u:p")),
            ("none.x/e", None),
        ] {
            assert_eq!(user(find(&path, &none, name)).as_deref(), expected, "{name}");
        }
        assert!(forget(&path, "docker.io").unwrap());
        let left = std::fs::read_to_string(&path).unwrap();
        assert!(left.contains("HttpHeaders") && !left.contains("index.docker.io"));
    }

    #[test]
    fn our_own_file_comes_first_and_only_its_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let own = written(dir.path(), "own", r#"{"auths":{"h.x":{"auth":"b3duOjE="}}}"#);
        let other =
            written(dir.path(), "other", r#"{"auths":{"h.x":{"auth":"b3RoZXI6MQ=="},"i.x":{"auth":"b3RoZXI6MQ=="}}}"#);
        let damaged = written(dir.path(), "damaged", "{");
        let wrong = written(dir.path(), "wrong", r#"{"auths":{"i.x":{"auth":"geheim"}}}"#);
        let others = [&damaged, &wrong, &other];
        assert_eq!(user(find(&own, &others, "h.x")).unwrap(), "own:1");
        assert_eq!(user(find(&own, &others, "i.x")).unwrap(), "other:1");
        let error = find(&damaged, &others, "h.x").unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        let error = find(&wrong, &others, "i.x").unwrap_err().to_string();
        assert!(error.contains("i.x") && !error.contains("geheim"), "{error}");
        assert!(keep(&damaged, "h.x", "a", &Secret::new("b")).is_err());
        assert_eq!(std::fs::read_to_string(&damaged).unwrap(), "{");
    }
}
