//! One endpoint for one image: requests, with the authorization that it demands.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::Mutex;

use super::authorize::{AuthorizationRequest, Grant, refusal};
use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::transport::{Answer, Request, Transports, authority, read_body};
use super::{RegistryError, Settings};

/// The address of one repository, and how it may be asked.
pub(super) struct Place {
    /// Ends with a slash.
    pub base: Url,
    /// Equal for addresses of the same registry.
    pub endpoint: usize,
    /// Further ones after a failure.
    pub attempts: u32,
}

pub(super) struct Remote {
    transports: Arc<Transports>,
    place: Place,
    repository: Option<String>,
    credentials: Option<Credentials>,
    granted: Mutex<Granted>,
    has_answered: AtomicBool,
}

/// The authorization in use; `serial` grows with each new one, so that of several requests that were refused with the
/// same one only the first asks for another.
#[derive(Default)]
struct Granted {
    serial: u64,
    grant: Option<Grant>,
}

impl Remote {
    /// Without a repository it is for a login.
    pub(super) fn new(
        transports: Arc<Transports>,
        place: Place,
        repository: Option<String>,
        credentials: Option<Credentials>,
    ) -> Self {
        let (granted, has_answered) = (Mutex::default(), AtomicBool::new(false));
        Self { transports, place, repository, credentials, granted, has_answered }
    }

    /// Host and port.
    pub(super) fn host(&self) -> String {
        authority(&self.place.base)
    }

    pub(super) fn endpoint(&self) -> usize {
        self.place.endpoint
    }

    pub(super) fn settings(&self) -> &Settings {
        self.transports.settings()
    }

    /// Asks for `v2/<path>`, below the repository if there is one. Successful answers only.
    pub(super) async fn get(&self, path: &str, headers: HeaderMap, what: &str) -> Result<Answer, RegistryError> {
        let path = match &self.repository {
            Some(repository) => format!("v2/{repository}/{path}"),
            None => format!("v2/{path}"),
        };
        let url = self.place.base.join(&path).expect("repositories, tags and digests are plain characters");
        let mut request = Request { method: Method::GET, url, headers, authorization: None, body: None, what };
        // Compressing a transfer on the way would change digests and lengths.
        request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (serial, header) = self.current().await;
        request.authorization = header;
        let mut answer = self.transports.send(&request).await?;
        self.has_answered.store(true, Ordering::Relaxed);
        if answer.response.status() == StatusCode::UNAUTHORIZED
            && answer.is_direct
            && let Some(challenge) = challenge::of(answer.response.headers())
        {
            request.authorization = Some(self.renew(serial, &challenge, what).await?);
            answer = self.transports.send(&request).await?;
        }
        if answer.response.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer, self.settings().patience.stall, what).await)
    }

    /// A whole document of at most `limit` bytes, with further attempts after passing failures. The headers come along.
    pub(super) async fn read(
        &self,
        path: &str,
        headers: &HeaderMap,
        limit: u64,
        what: &str,
    ) -> Result<(Vec<u8>, HeaderMap), RegistryError> {
        let mut attempt = 0;
        loop {
            let error = match self.read_once(path, headers.clone(), limit, what).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            let Some(pause) = self.pause(attempt, &error) else { return Err(error) };
            tracing::debug!("{}; asking again in {pause:?}", engine_host::cause::chain(&error));
            tokio::time::sleep(pause).await;
        }
    }

    /// How long to wait before asking for the `attempt`th further time (from 1); none if that is not worth it. A server
    /// that has never been reached is not waited for.
    pub(super) fn pause(&self, attempt: u32, error: &RegistryError) -> Option<Duration> {
        let is_absent =
            matches!(error, RegistryError::Unreachable { .. }) && !self.has_answered.load(Ordering::Relaxed);
        let is_worth_it = error.is_passing() && !is_absent && attempt <= self.place.attempts;
        is_worth_it.then(|| self.settings().patience.pause(attempt, error.retry_after()))
    }

    async fn read_once(
        &self,
        path: &str,
        headers: HeaderMap,
        limit: u64,
        what: &str,
    ) -> Result<(Vec<u8>, HeaderMap), RegistryError> {
        let answer = self.get(path, headers, what).await?;
        let headers = answer.response.headers().clone();
        Ok((read_body(answer, limit, self.settings().patience.stall, what).await?, headers))
    }

    async fn current(&self) -> (u64, Option<HeaderValue>) {
        let granted = self.granted.lock().await;
        let is_alive = |grant: &&Grant| grant.expires.is_none_or(|at| Instant::now() < at);
        (granted.serial, granted.grant.as_ref().filter(is_alive).map(|grant| grant.header.clone()))
    }

    /// A new authorization in place of number `serial`, or the one that has come meanwhile.
    async fn renew(&self, serial: u64, challenge: &Challenge, what: &str) -> Result<HeaderValue, RegistryError> {
        let mut granted = self.granted.lock().await;
        if granted.serial != serial
            && let Some(grant) = &granted.grant
        {
            return Ok(grant.header.clone());
        }
        let scope = self.repository.as_ref().map(|repository| format!("repository:{repository}:pull"));
        let applicant = AuthorizationRequest {
            transports: &self.transports,
            registry: &self.place.base,
            scope: scope.as_deref(),
            credentials: self.credentials.as_ref(),
            what,
        };
        let grant = applicant.answer(challenge).await?;
        let header = grant.header.clone();
        granted.serial += 1;
        granted.grant = Some(grant);
        Ok(header)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", authority(&self.place.base), self.repository.as_deref().unwrap_or_default())
    }
}
