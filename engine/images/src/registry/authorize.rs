//! Answers to challenges: user and password, or a token of the registry's token service.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{Credentials, encode};
use super::insecure::is_insecure;
use super::transport::{Answer, Request, Transports, authority, bad_answer, read_body};
use super::{RegistryError, Secret};

/// Tokens live at least this long by the specification, and exactly this long if the server gives no lifetime.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const TOKEN_LIMIT: u64 = 1 << 20;
const CLIENT_ID: &str = "isulad";

/// The value of the header `Authorization`, until it expires.
#[derive(Clone)]
pub(super) struct Grant {
    pub header: HeaderValue,
    pub expires: Option<Instant>,
}

/// A request for authorization: the repository, its scope and the credentials for it.
pub(super) struct AuthorizationRequest<'a> {
    pub transports: &'a Transports,
    /// The registry's address: whether it speaks TLS decides whether its token service must.
    pub registry: &'a Url,
    /// The scope if the challenge has none: `repository:library/busybox:pull`.
    pub scope: Option<&'a str>,
    pub credentials: Option<&'a Credentials>,
    pub what: &'a str,
}

impl AuthorizationRequest<'_> {
    pub(super) async fn answer(&self, challenge: &Challenge) -> Result<Grant, RegistryError> {
        if let Some(Credentials::RegistryToken { token }) = self.credentials {
            return Ok(Grant { header: self.header("Bearer", token)?, expires: None });
        }
        match challenge {
            Challenge::Basic => match self.credentials {
                Some(Credentials::Password { user, password }) => {
                    Ok(Grant { header: self.header("Basic", &encode(user, password))?, expires: None })
                }
                Some(Credentials::IdentityToken { .. } | Credentials::RegistryToken { .. }) => {
                    Err(self.unauthorized("it takes a password, and there is only a token"))
                }
                None => Err(self.unauthorized("there are no credentials for it (isula login)")),
            },
            Challenge::Bearer { realm, service, scope } => {
                let scope = scope.as_deref().or(self.scope);
                self.token(realm, service.as_deref(), scope).await
            }
        }
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<Grant, RegistryError> {
        let mut url: Url = realm
            .parse()
            .ok()
            .filter(|url: &Url| matches!(url.scheme(), "https" | "http") && url.host_str().is_some())
            .ok_or_else(|| bad_answer(self.registry, self.what, "its token service has no valid address".to_owned()))?;
        let settings = self.transports.settings();
        if self.credentials.is_some() && url.scheme() == "http" && !is_insecure(&url, settings).await {
            let problem = format!("its token service `{}` would be sent credentials without TLS", authority(&url));
            return Err(bad_answer(self.registry, self.what, problem));
        }
        let pairs = [("service", service), ("scope", scope)];
        let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let mut authorization = None;
        let mut body = None;
        match self.credentials {
            Some(Credentials::IdentityToken { token, .. }) => {
                // A URL knows how to write a form.
                let mut form = url.clone();
                form.query_pairs_mut()
                    .clear()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", CLIENT_ID)
                    .append_pair("refresh_token", token.expose())
                    .extend_pairs(pairs);
                body = form.query().map(str::to_owned);
            }
            Some(Credentials::Password { user, password }) => {
                url.query_pairs_mut().extend_pairs(pairs).append_pair("account", user);
                authorization = Some(self.header("Basic", &encode(user, password))?);
            }
            Some(Credentials::RegistryToken { .. }) | None => {
                url.query_pairs_mut().extend_pairs(pairs);
            }
        }
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let what = format!("a token for {}", self.what);
        let request = Request { method, url, headers: HeaderMap::new(), authorization, body, what: &what };
        self.ask(&request).await
    }

    async fn ask(&self, request: &Request<'_>) -> Result<Grant, RegistryError> {
        let patience = &self.transports.settings().patience;
        let mut attempt = 0;
        let (bytes, asked) = loop {
            let asked = Instant::now();
            match self.ask_once(request).await {
                Ok(bytes) => break (bytes, asked),
                Err(error) if error.is_passing() && attempt < patience.attempts => {
                    attempt += 1;
                    tokio::time::sleep(patience.pause(attempt, error.retry_after())).await;
                }
                Err(error) => return Err(error),
            }
        };
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| bad_answer(&request.url, request.what, "it is not the JSON of a token".to_owned()))?;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token =
            token.ok_or_else(|| bad_answer(&request.url, request.what, "there is no token in it".to_owned()))?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or(0)).max(SHORTEST_LIFE);
        // Renewed a little before its end, which was counted from when it was asked for.
        let expires = asked.checked_add(life - (life / 10).min(Duration::from_secs(10)));
        Ok(Grant { header: self.header("Bearer", &Secret::new(token))?, expires })
    }

    async fn ask_once(&self, request: &Request<'_>) -> Result<Vec<u8>, RegistryError> {
        let patience = &self.transports.settings().patience;
        let answer = self.transports.send(request).await?;
        let status = answer.response.status();
        if status.is_success() {
            return read_body(answer, TOKEN_LIMIT, patience.stall, request.what).await;
        }
        let refused = matches!(status.as_u16(), 400 | 401 | 403);
        if refused && self.credentials.is_some() {
            let host = answer.host.clone();
            let RefusalText(message) = RefusalText::read(answer, patience.stall).await;
            let message = format!("it does not accept the credentials ({message})");
            return Err(RegistryError::Unauthorized { host, what: self.what.to_owned(), message });
        }
        Err(refusal(answer, patience.stall, request.what).await)
    }

    fn header(&self, scheme: &str, secret: &Secret) -> Result<HeaderValue, RegistryError> {
        let mut header = HeaderValue::from_str(&format!("{scheme} {}", secret.expose()))
            .map_err(|_| bad_answer(self.registry, self.what, "a token cannot be put into a header".to_owned()))?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn unauthorized(&self, message: &str) -> RegistryError {
        let host = authority(self.registry);
        RegistryError::Unauthorized { host, what: self.what.to_owned(), message: message.to_owned() }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A server's explanation of its refusal, in a line.
pub(super) struct RefusalText(pub String);

impl RefusalText {
    pub(super) async fn read(answer: Answer, stall: Duration) -> Self {
        const LIMIT: u64 = 64 << 10;
        let status = answer.response.status();
        let reason = status.canonical_reason().unwrap_or("no reason given").to_owned();
        let body = read_body(answer, LIMIT, stall, "").await.unwrap_or_default();
        Self(from_json(&body).unwrap_or(reason))
    }
}

/// `{"errors": [{"code": "DENIED", "message": "…"}]}` of registries, `{"details": "…"}` and kin of token services.
fn from_json(body: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        errors: Vec<Entry>,
        details: Option<String>,
        error_description: Option<String>,
        message: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Entry {
        code: Option<String>,
        message: Option<String>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let first = body.errors.into_iter().find_map(|entry| entry.message.filter(|text| !text.is_empty()).or(entry.code));
    let text = first.or(body.details).or(body.error_description).or(body.message)?;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    (!line.trim().is_empty()).then(|| line.trim().to_owned())
}

/// The error that an unsuccessful answer is.
pub(super) async fn refusal(answer: Answer, stall: Duration, what: &str) -> RegistryError {
    let (host, what) = (answer.host.clone(), what.to_owned());
    let status = answer.response.status().as_u16();
    let retry_after = answer.response.headers().get(reqwest::header::RETRY_AFTER).and_then(seconds);
    let code = super::challenge::error_code(answer.response.headers());
    if status == 404 {
        return RegistryError::NotFound { host, what };
    }
    let RefusalText(mut message) = RefusalText::read(answer, stall).await;
    match status {
        401 => {
            if let Some(code) = code {
                message = format!("{message} ({code})");
            }
            RegistryError::Unauthorized { host, what, message }
        }
        403 => RegistryError::Denied { host, what, message },
        _ => RegistryError::Status { host, what, status, message, retry_after },
    }
}

/// A number of seconds, or a date.
fn seconds(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - chrono::Utc::now()).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_refusals_are_taken_from_their_bodies() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"DENIED","message":"not\nyours"}]}"#, Some("not yours")),
            (r#"{"errors":[{"code":"DENIED","message":""}]}"#, Some("DENIED")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"errors":[]}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(from_json(body.as_bytes()).as_deref(), expected, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(5000));
        assert_eq!(from_json(long.as_bytes()).unwrap().len(), 300);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| seconds(&HeaderValue::from_str(text).unwrap());
        assert_eq!(of(" 120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(of("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait > Duration::from_secs(1 << 20)));
        assert_eq!(of("soon"), None);
    }
}
