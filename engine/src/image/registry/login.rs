//! Credentials that are kept.

use std::sync::{Arc, PoisonError};

use reqwest::header::HeaderMap;

use super::remote::Remote;
use super::transport::Transports;
use super::{Credentials, Registry, RegistryError, Secret, auth_file, endpoints};
use crate::image::reference::{DEFAULT_REGISTRY, check_host};

const ANSWER_LIMIT: u64 = 64 << 10;

impl Registry {
    /// Asks the registry whether it takes these credentials, and keeps them if so. Gives the server's name as it is kept. No server
    /// is docker.io.
    pub async fn login(&self, server: &str, user: &str, password: &Secret) -> Result<String, RegistryError> {
        let server = server_name(server)?;
        let invalid =
            |problem: &str| RegistryError::InvalidServer { server: server.clone(), problem: problem.to_owned() };
        if user.is_empty() || user.contains(':') {
            return Err(invalid("a user name is neither empty nor has a colon in it"));
        }
        let endpoint = endpoints::of_server(&server, &self.settings.insecure).await?;
        let transports = Arc::new(Transports::new(self.settings.clone()));
        let credentials = Credentials::Password { user: user.to_owned(), password: password.clone() };
        let mut outcome = Ok(());
        for base in endpoint.bases {
            let remote = Remote::new(transports.clone(), base, None, Some(credentials.clone()));
            let answer = remote.read("", &HeaderMap::new(), ANSWER_LIMIT, "a login").await;
            match (answer, &outcome) {
                // The first scheme's failure says more than "nobody there either".
                (Err(RegistryError::Unreachable { .. }), Err(_)) => {}
                (answer, _) => outcome = answer.map(|_| ()),
            }
            if !outcome.as_ref().is_err_and(RegistryError::is_of_connection) {
                break;
            }
        }
        outcome?;
        let (user, password) = (user.to_owned(), password.clone());
        self.with_auth_file(server.clone(), move |path, server| auth_file::keep(path, server, &user, &password))
            .await?;
        Ok(server)
    }

    /// Forgets what `login` has kept. Gives the server's name.
    pub async fn logout(&self, server: &str) -> Result<String, RegistryError> {
        let server = server_name(server)?;
        let known = self.with_auth_file(server.clone(), auth_file::forget).await?;
        if known { Ok(server) } else { Err(RegistryError::NotLoggedIn { server }) }
    }

    async fn with_auth_file<T: Send + 'static>(
        &self,
        server: String,
        work: impl FnOnce(&std::path::Path, &str) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let (settings, lock) = (self.settings.clone(), self.auth_file.clone());
        let work = move || {
            let _one_at_a_time = lock.lock().unwrap_or_else(PoisonError::into_inner);
            work(&settings.auth_file, &server)
        };
        tokio::task::spawn_blocking(work).await.map_err(|source| RegistryError::Task { source })?
    }
}

/// `host[:port]` of whatever people write for a registry.
fn server_name(text: &str) -> Result<String, RegistryError> {
    let name = auth_file::normalise(text);
    if name.is_empty() {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    check_host(&name)
        .map_err(|problem| RegistryError::InvalidServer { server: name.chars().take(200).collect(), problem })?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_one_name() {
        for (text, name) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://h.example:5000/", "h.example:5000"),
            ("http://h.example/v2/", "h.example"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(server_name(text).unwrap(), name, "{text}");
        }
        for text in ["h.example/path", "h ample", "h.example:0", "../x"] {
            assert!(server_name(text).is_err(), "{text}");
        }
    }
}
