//! Blobs: streamed, and resumed where the connection broke.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};

use super::remote::Remote;
use super::source::Refusals;
use super::transport::{Answer, within};
use super::{Registry, RegistryError, Source};
use crate::manifest::Descriptor;

/// A blob on its way. It delivers exactly as many bytes as its descriptor promises, or an error. Its digest is not
/// compared here.
pub struct Blob {
    source: Source,
    /// Which of the source's remotes is asked.
    number: usize,
    refusals: Refusals,
    path: String,
    what: String,
    size: u64,
    received: u64,
    state: State,
    /// Failures since there was progress, and where it is measured from.
    attempt: u32,
    progress_from: u64,
    /// The server cannot continue in the middle: begin again and pass over the bytes that are here already.
    without_range: bool,
    on_retry: Option<OnRetry>,
}

type OnRetry = Box<dyn Fn(Retry) + Send + Sync>;

/// A connection failed, and another attempt will be made.
#[derive(Debug)]
pub struct Retry {
    /// From 1; begins again when there was progress.
    pub attempt: u32,
    pub received: u64,
}

enum State {
    Closed,
    Open(Open),
    /// It was delivered whole, or failed for good.
    Over,
}

struct Open {
    response: Response,
    host: String,
    /// Bytes that were delivered already and that the server sends again.
    skip: u64,
}

impl Registry {
    /// Opens nothing yet: the first `next` does.
    pub fn blob(&self, source: &Source, descriptor: &Descriptor) -> Blob {
        Blob {
            source: source.clone(),
            number: 0,
            refusals: Refusals::default(),
            path: format!("blobs/{}", descriptor.digest),
            what: format!("blob {}", descriptor.digest),
            size: descriptor.size,
            received: 0,
            state: State::Closed,
            attempt: 0,
            progress_from: 0,
            without_range: false,
            on_retry: None,
        }
    }
}

impl Blob {
    /// Calls `listener` for every further attempt, before its pause.
    pub fn on_retry(mut self, listener: impl Fn(Retry) + Send + Sync + 'static) -> Self {
        self.on_retry = Some(Box::new(listener));
        self
    }

    /// Bytes delivered so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes, never none of them. After the last byte, and after an error, there is nothing more. May be
    /// cancelled and called again.
    pub async fn next(&mut self) -> Option<Result<Bytes, RegistryError>> {
        loop {
            match self.step().await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => {
                    self.state = State::Over;
                    return None;
                }
                Err(error) => {
                    if let Err(error) = self.try_again(error).await {
                        self.state = State::Over;
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let stall = self.remote().settings().patience.stall;
        match &mut self.state {
            State::Over => Ok(None),
            State::Closed if self.received == self.size => Ok(None),
            State::Closed => {
                self.state = State::Open(self.open().await?);
                Ok(Some(Bytes::new()))
            }
            State::Open(open) => {
                let whole = self.received == self.size;
                // The answer's length was compared when it began; only an answer without a length must be read to its
                // end.
                if whole && open.response.content_length().is_some() {
                    return Ok(None);
                }
                let chunk = within(stall, &open.host, &self.what, open.response.chunk()).await;
                let chunk = match chunk {
                    _ if whole && !matches!(chunk, Ok(Ok(Some(_)))) => return Ok(None),
                    Ok(Ok(chunk)) => chunk,
                    Ok(Err(error)) => return Err(RegistryError::of(error, &open.host, &self.what)),
                    Err(stalled) => return Err(stalled),
                };
                let (host, what) = (open.host.clone(), self.what.clone());
                let Some(mut bytes) = chunk else {
                    return Err(RegistryError::CutShort { host, what, received: self.received, size: self.size });
                };
                let skipped = bytes.len().min(usize::try_from(open.skip).unwrap_or(usize::MAX));
                open.skip -= skipped as u64;
                let bytes = bytes.split_off(skipped);
                let received = self.received + bytes.len() as u64;
                if received > self.size {
                    return Err(RegistryError::TooLarge { host, what, limit: self.size });
                }
                self.received = received;
                Ok(Some(bytes))
            }
        }
    }

    async fn open(&mut self) -> Result<Open, RegistryError> {
        let mut headers = HeaderMap::new();
        if self.received > 0 && !self.without_range {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.received));
            headers.insert(RANGE, range.expect("a number is plain characters"));
        }
        let answer = match self.remote().get(&self.path, headers, &self.what).await {
            Err(RegistryError::Status { status: 416, .. }) if !self.without_range => {
                self.without_range = true;
                self.remote().get(&self.path, HeaderMap::new(), &self.what).await
            }
            answer => answer,
        }?;
        let Answer { response, host, .. } = answer;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let skip = if partial {
            self.check_range(&response, &host)?;
            0
        } else {
            self.received
        };
        if let Some(length) = response.content_length() {
            let found = (self.received - skip).saturating_add(length);
            // A server may send less than the requested range.
            if found > self.size || (found < self.size && !partial) {
                let (what, expected) = (self.what.clone(), self.size);
                return Err(RegistryError::SizeMismatch { host, what, expected, found });
            }
        }
        Ok(Open { response, host, skip })
    }

    /// `bytes 10-99/100`: it must begin where the last answer stopped.
    fn check_range(&self, response: &Response, host: &str) -> Result<(), RegistryError> {
        let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let range = text.trim().strip_prefix("bytes").map(str::trim_start);
        let first = range.and_then(|range| range.split('-').next()).and_then(|first| first.parse().ok());
        if first == Some(self.received) {
            return Ok(());
        }
        let problem = format!("it was asked for the bytes from {} and sends `{}`", self.received, cut(text));
        Err(RegistryError::BadAnswer { host: host.to_owned(), what: self.what.clone(), problem })
    }

    /// Waits if another attempt is worth it, or turns to the next source that may have the blob.
    async fn try_again(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.state = State::Closed;
        if self.received - self.progress_from >= self.remote().settings().patience.progress {
            self.attempt = 0;
            self.progress_from = self.received;
        }
        self.attempt += 1;
        let Some(pause) = self.remote().pause(self.attempt, &error) else {
            self.number = self.refusals.next(self.source.remotes(), self.number, error, &self.what)?;
            (self.attempt, self.without_range) = (0, false);
            return Ok(());
        };
        tracing::debug!("{}; asking again in {pause:?}", engine_host::cause::chain(&error));
        if let Some(listener) = &self.on_retry {
            listener(Retry { attempt: self.attempt, received: self.received });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn remote(&self) -> &Arc<Remote> {
        &self.source.remotes()[self.number]
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}: {} of {} bytes", self.what, self.remote(), self.received, self.size)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
