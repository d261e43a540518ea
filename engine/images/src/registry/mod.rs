//! The client of registries: distribution over HTTP.
//!
//! Everything about one image is asked of one [`Source`]: the endpoint (a mirror or the registry itself) at which its
//! name was resolved, with its connections, certificates and authorization. If that endpoint cannot deliver some
//! content, the ones after it are asked: content is named by its digest, so it does not matter where it comes from.
//! Certificates and credentials are read anew for each name that is resolved, so a change of them needs no restart.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of the daemon's environment are honoured, except for
//! loopback addresses.
//!
//! Manifests and configs are verified here. A [`Blob`] has the promised length, and the code that unpacks it compares
//! its digest.

mod auth_file;
mod authorize;
mod blob;
mod certs;
mod challenge;
mod credentials;
mod endpoints;
mod error;
mod insecure;
mod login;
mod patience;
mod remote;
mod resolve;
mod secret;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::{Arc, Mutex};

pub use blob::{Blob, Retry};
pub use credentials::Credentials;
pub use error::RegistryError;
pub use insecure::InsecureRule;
pub use patience::Patience;
pub use resolve::Resolved;
pub use secret::Secret;
pub use settings::{InvalidSetting, Mirror, Settings, standard_auth_files};
pub use source::Source;

/// Registries as these settings reach them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    settings: Arc<Settings>,
    /// One change of the credentials' file at a time.
    auth_file: Arc<Mutex<()>>,
}

impl Registry {
    pub fn new(settings: Settings) -> Self {
        // Refused only if there is one already, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { settings: Arc::new(settings), auth_file: Arc::default() }
    }
}
