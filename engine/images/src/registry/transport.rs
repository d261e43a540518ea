//! Connections: a client for each host with its certificates, deadlines, and redirects.
//!
//! Redirects are followed here and not in the HTTP library: storage servers have certificates of their own in
//! `certs.d`, and must never receive the registry's `Authorization` header.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};

use super::insecure::{is_insecure, is_loopback};
use super::{RegistryError, Settings, certs};

const REDIRECTS: usize = 10;

/// The clients of one source, each made when it is first needed.
#[derive(Debug)]
pub(super) struct Transports {
    settings: Arc<Settings>,
    clients: Mutex<HashMap<(String, Trust), Client>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trust {
    /// Plain HTTP.
    None,
    /// Certificates are not looked at.
    Unverified,
    Verified,
}

/// A request. `what` is its purpose, for errors.
pub(super) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    /// Goes to the host of `url` only.
    pub authorization: Option<HeaderValue>,
    /// Sent as a form.
    pub body: Option<String>,
    pub what: &'a str,
}

/// The head of an answer; its body is still to come.
pub(super) struct Answer {
    pub response: Response,
    /// The host that answered, after redirects.
    pub host: String,
    /// The host that was asked answered itself.
    pub is_direct: bool,
}

/// Host and port as in the URL, without a port that its scheme implies.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Transports {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, clients: Mutex::default() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends a request and follows redirects. Any status is an answer.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer, RegistryError> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send_once(request, &url, authorization.as_ref()).await?;
            let host = authority(&url);
            if !is_redirect(response.status()) {
                let is_direct = url.origin() == request.url.origin();
                return Ok(Answer { response, host, is_direct });
            }
            let next = self.target(&url, &response, request.what).await?;
            if next.origin() != url.origin() {
                authorization = None;
                if request.body.is_some() {
                    let problem = format!("it would pass on what it is sent to `{}`", authority(&next));
                    return Err(bad_answer(&url, request.what, problem));
                }
            }
            url = next;
        }
        let problem = format!("it redirects more than {REDIRECTS} times");
        Err(bad_answer(&request.url, request.what, problem))
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let (host, what) = (authority(url), request.what);
        let client = self.client(url).await?;
        let mut builder = client.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some(body) = &request.body {
            builder = builder.header(reqwest::header::CONTENT_TYPE, FORM).body(body.clone());
        }
        within(self.settings.patience.header, &host, what, builder.send())
            .await?
            .map_err(|error| RegistryError::of(error, &host, what))
    }

    async fn target(&self, from: &Url, response: &Response, what: &str) -> Result<Url, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| from.join(location).ok());
        let next = next.ok_or_else(|| bad_answer(from, what, "it redirects to nowhere".to_owned()))?;
        let is_web = matches!(next.scheme(), "https" | "http") && next.host_str().is_some();
        if !is_web {
            return Err(bad_answer(from, what, format!("it redirects to a {} address", next.scheme())));
        }
        if from.scheme() == "https" && next.scheme() == "http" && !is_insecure(&next, &self.settings).await {
            let problem =
                format!("it redirects to `{}` without TLS, which is not an insecure registry", authority(&next));
            return Err(bad_answer(from, what, problem));
        }
        Ok(next)
    }

    async fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        let trust = match url.scheme() {
            "https" if is_insecure(url, &self.settings).await => Trust::Unverified,
            "https" => Trust::Verified,
            _ => Trust::None,
        };
        let key = (authority(url), trust);
        let lock = || self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lock().get(&key) {
            return Ok(client.clone());
        }
        let (settings, url) = (self.settings.clone(), url.clone());
        // Reads files: those of `certs.d` and the system's authorities.
        let client = tokio::task::spawn_blocking(move || build(&settings, &url, trust))
            .await
            .map_err(|source| RegistryError::Task { source })??;
        Ok(lock().entry(key).or_insert(client).clone())
    }
}

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

fn build(settings: &Settings, url: &Url, trust: Trust) -> Result<Client, RegistryError> {
    let mut builder = Client::builder()
        .user_agent(concat!("isulad/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.patience.connect)
        .redirect(redirect::Policy::none())
        .referer(false)
        // Retries are made and counted in this module's callers.
        .retry(reqwest::retry::never());
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    match trust {
        // Such a client is never given an https address, and the system's authorities need not be read for it.
        Trust::None => builder = builder.tls_certs_only([]),
        Trust::Unverified | Trust::Verified => {
            let certs = certs::read(&settings.certs_dir, url)?;
            if let Some(identity) = certs.identity {
                builder = builder.identity(identity);
            }
            builder = match trust {
                Trust::Verified => builder.tls_certs_merge(certs.authorities),
                Trust::None | Trust::Unverified => builder.tls_danger_accept_invalid_certs(true),
            };
        }
    }
    builder.build().map_err(|error| {
        let (host, source) = (authority(url), error.without_url());
        // Certificates from `certs.d` were read above: only the system's authorities can still fail here.
        if trust == Trust::Verified {
            let place = settings.certs_dir.join(&host).join("ca.crt");
            return RegistryError::NoAuthorities { host, place, source };
        }
        RegistryError::Client { host, source }
    })
}

/// Reads a body that has at most `limit` bytes.
pub(super) async fn read_body(
    answer: Answer,
    limit: u64,
    stall: Duration,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let Answer { mut response, host, .. } = answer;
    let too_large = || RegistryError::TooLarge { host: host.clone(), what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) =
        within(stall, &host, what, response.chunk()).await?.map_err(|error| RegistryError::of(error, &host, what))?
    {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) async fn within<T>(
    time: Duration,
    host: &str,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, RegistryError> {
    tokio::time::timeout(time, work).await.map_err(|_| RegistryError::Stalled {
        host: host.to_owned(),
        what: what.to_owned(),
        after: time,
    })
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(super) fn bad_answer(url: &Url, what: &str, problem: String) -> RegistryError {
    RegistryError::BadAnswer { host: authority(url), what: what.to_owned(), problem }
}
