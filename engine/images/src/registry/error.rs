//! Errors of the registry client. Each one names the host and the content that was requested, and none has a secret in
//! it: of addresses only the host is shown, since those of storage servers carry signatures.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::manifest::ManifestError;
use engine_domain::id::Digest;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{host}` wants a login for {what}: {message}")]
    Unauthorized { host: String, what: String, message: String },
    #[error("login to `{server}` failed: {message}")]
    LoginRefused { server: String, message: String },
    #[error("`{user}` cannot be the name of a user: it is empty or has a colon in it")]
    InvalidUser { user: String },
    #[error("`{host}` denies {what}: {message}")]
    Denied { host: String, what: String, message: String },
    #[error("`{host}` does not have {what}")]
    NotFound { host: String, what: String },
    #[error(
        "cannot talk TLS with `{host}` for {what} (for an authority of its own put the certificate into `certs.d/{host}/ca.crt`, to go without name the host in `insecure-registries`)"
    )]
    Tls { host: String, what: String, source: reqwest::Error },
    #[error("cannot reach `{host}` for {what}")]
    Unreachable { host: String, what: String, source: reqwest::Error },
    #[error("`{host}` sent nothing of {what} for {} seconds", after.as_secs_f32())]
    Stalled { host: String, what: String, after: Duration },
    #[error("the connection to `{host}` broke while asking for {what}")]
    Broken { host: String, what: String, source: reqwest::Error },
    #[error("`{host}` sent only {received} of {size} bytes of {what}")]
    CutShort { host: String, what: String, received: u64, size: u64 },
    #[error("`{host}` sent {what} with digest {found} instead of {expected}")]
    DigestMismatch { host: String, what: String, expected: Digest, found: Digest },
    #[error("`{host}` sends more than {limit} bytes for {what}")]
    TooLarge { host: String, what: String, limit: u64 },
    #[error("`{host}` says that {what} has {found} bytes, and its manifest says {expected}")]
    SizeMismatch { host: String, what: String, expected: u64, found: u64 },
    #[error("`{host}` answers {status} for {what}: {message}")]
    Status { host: String, what: String, status: u16, message: String, retry_after: Option<Duration> },
    #[error("`{host}` gives an answer for {what} that makes no sense: {problem}")]
    BadAnswer { host: String, what: String, problem: String },
    #[error("`{host}` sent something for {what} that cannot be used")]
    Document { host: String, what: String, source: Box<ManifestError> },
    /// More than one endpoint was asked, and none had it. `last` is the registry's own answer.
    #[error("no registry could provide {what}: {answers}")]
    NoEndpoint { what: String, answers: String, last: Box<RegistryError> },
    #[error("`{path}` cannot be used for connections to `{host}`: {problem}")]
    Certificate { host: String, path: PathBuf, problem: String },
    #[error(
        "no authorities are known that could vouch for `{host}`: install the system's (package ca-certificates), \
         or put its own into `{place}`"
    )]
    NoAuthorities { host: String, place: PathBuf, source: reqwest::Error },
    #[error("cannot prepare connections to `{host}`")]
    Client { host: String, source: reqwest::Error },
    #[error("`{server}` is not a registry: {problem}")]
    InvalidServer { server: String, problem: String },
    #[error("cannot read the credentials in `{path}`")]
    ReadAuthFile { path: PathBuf, source: io::Error },
    #[error("the credentials in `{path}` are damaged: repair or remove that file")]
    DamagedAuthFile { path: PathBuf, source: serde_json::Error },
    #[error("the credentials for `{server}` in `{path}` are damaged: {problem}; log in again")]
    DamagedCredentials { path: PathBuf, server: String, problem: &'static str },
    #[error("cannot keep the credentials")]
    WriteAuthFile { source: engine_host::fs::WriteError },
    #[error("work of the registry client ended unexpectedly")]
    Task { source: tokio::task::JoinError },
}

impl RegistryError {
    /// Whether a retry may succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Broken { .. } | Self::CutShort { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Unauthorized { .. }
            | Self::LoginRefused { .. }
            | Self::InvalidUser { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::DigestMismatch { .. }
            | Self::TooLarge { .. }
            | Self::SizeMismatch { .. }
            | Self::BadAnswer { .. }
            | Self::Document { .. }
            | Self::NoEndpoint { .. }
            | Self::Certificate { .. }
            | Self::NoAuthorities { .. }
            | Self::Client { .. }
            | Self::InvalidServer { .. }
            | Self::ReadAuthFile { .. }
            | Self::DamagedAuthFile { .. }
            | Self::DamagedCredentials { .. }
            | Self::WriteAuthFile { .. }
            | Self::Task { .. } => false,
        }
    }

    /// The pause that the server has asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }

    /// No server there speaks this protocol: the other scheme may be tried where that is allowed.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Unreachable { .. } | Self::Broken { .. } | Self::Stalled { .. })
    }

    /// From an error of the HTTP library, without its address, which may be signed.
    pub(super) fn of(error: reqwest::Error, host: &str, what: &str) -> Self {
        let (host, what, source) = (host.to_owned(), what.to_owned(), error.without_url());
        if is_tls(&source) {
            return Self::Tls { host, what, source };
        }
        if source.is_builder() {
            return Self::Client { host, source };
        }
        if source.is_connect() {
            return Self::Unreachable { host, what, source };
        }
        Self::Broken { host, what, source }
    }
}

/// Whether TLS is the cause, at whatever depth. An `io::Error` hides the error that it carries from `source`.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || carried.is_some_and(|carried| is_tls(carried)) || error.source().is_some_and(is_tls)
}
