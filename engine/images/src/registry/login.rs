//! Credentials that are kept.

use std::sync::{Arc, PoisonError};

use reqwest::header::HeaderMap;

use super::remote::{Place, Remote};
use super::source::first_answer;
use super::transport::Transports;
use super::{Credentials, Registry, RegistryError, Secret, auth_file, endpoints};
use crate::reference::{DEFAULT_REGISTRY, check_host};

const WHAT: &str = "a login";
const ANSWER_LIMIT: u64 = 64 << 10;

impl Registry {
    /// Asks the registry whether it takes these credentials, and keeps them if so. Gives the server's name as it is
    /// kept. No server is docker.io.
    pub async fn login(&self, server: &str, user: &str, password: &Secret) -> Result<String, RegistryError> {
        let server = server_name(server)?;
        if user.is_empty() || user.contains(':') {
            return Err(RegistryError::InvalidUser { user: user.to_owned() });
        }
        let endpoint = endpoints::of_server(&server, &self.settings).await?;
        let transports = Arc::new(Transports::new(self.settings.clone()));
        let credentials = Credentials::Password { user: user.to_owned(), password: password.clone() };
        let attempts = self.settings.patience.attempts;
        let remote = |base| {
            let place = Place { base, endpoint: 0, attempts };
            Arc::new(Remote::new(transports.clone(), place, None, Some(credentials.clone())))
        };
        let remotes: Vec<_> = endpoint.bases.into_iter().map(remote).collect();
        let ask = |remote: Arc<Remote>| async move { remote.read("", &HeaderMap::new(), ANSWER_LIMIT, WHAT).await };
        first_answer(&remotes, WHAT, ask).await.map_err(|error| match error {
            RegistryError::Unauthorized { message, .. } | RegistryError::Denied { message, .. } => {
                RegistryError::LoginRefused { server: server.clone(), message }
            }
            other => other,
        })?;
        let (user, password) = (user.to_owned(), password.clone());
        self.with_auth_file(server.clone(), move |path, server| auth_file::keep(path, server, &user, &password))
            .await?;
        Ok(server)
    }

    /// Removes credentials that `login` has stored, if any. Returns the server's name.
    pub async fn logout(&self, server: &str) -> Result<String, RegistryError> {
        let server = server_name(server)?;
        self.with_auth_file(server.clone(), auth_file::forget).await?;
        Ok(server)
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
