//! The endpoint at which an image was found, and others that may have the same content.

use std::sync::Arc;

use super::RegistryError;
use super::remote::Remote;

/// The endpoints for an image, the one that answered first. Cheap to clone; connections are kept as long as a clone
/// lives.
#[derive(Debug, Clone)]
pub struct Source(Arc<Vec<Arc<Remote>>>);

impl Source {
    /// The endpoint that answered, and those that were not asked: since content is named by its digest, content that
    /// the first cannot deliver may come from them.
    pub(super) fn new(found: Arc<Remote>, others: impl IntoIterator<Item = Arc<Remote>>) -> Self {
        Self(Arc::new([found].into_iter().chain(others).collect()))
    }

    /// Host and port that answer: `registry-1.docker.io`, a mirror.
    pub fn host(&self) -> String {
        self.0[0].host()
    }

    pub(super) fn remotes(&self) -> &[Arc<Remote>] {
        &self.0
    }
}

/// Asks one after the other until one has an answer; returns its number as well. `what` names the wanted content.
pub(super) async fn first_answer<T, F: Future<Output = Result<T, RegistryError>>>(
    remotes: &[Arc<Remote>],
    what: &str,
    ask: impl Fn(Arc<Remote>) -> F,
) -> Result<(usize, T), RegistryError> {
    let mut refusals = Refusals::default();
    let mut number = 0;
    loop {
        match ask(remotes[number].clone()).await {
            Ok(answer) => return Ok((number, answer)),
            Err(error) => match refusals.next(remotes, number, error, what) {
                Ok(next) => number = next,
                Err(error) => return Err(error),
            },
        }
    }
}

/// The answers of endpoints that did not have the content.
#[derive(Default)]
pub(super) struct Refusals {
    /// The answers, each with the number of its endpoint.
    answers: Vec<(usize, String)>,
    last: Option<RegistryError>,
}

impl Refusals {
    /// The endpoint to ask after number `from` has failed with `error`, or the error of all.
    pub(super) fn next(
        &mut self,
        remotes: &[Arc<Remote>],
        from: usize,
        error: RegistryError,
        what: &str,
    ) -> Result<usize, RegistryError> {
        let here = &remotes[from];
        // A server that does answer is not asked again without TLS.
        let may_follow = |next: &Arc<Remote>| next.endpoint() != here.endpoint() || error.is_of_connection();
        let next = (from + 1..remotes.len()).find(|number| may_follow(&remotes[*number]));
        self.add(here.endpoint(), error);
        match next {
            Some(next) => Ok(next),
            None => Err(self.error(what)),
        }
    }

    /// Each endpoint is quoted once. If it was asked in two ways, an answer is more useful than a failed connection,
    /// and of two of those the first is kept.
    fn add(&mut self, endpoint: usize, error: RegistryError) {
        tracing::debug!("{}", engine_host::cause::chain(&error));
        if self.answers.last().is_some_and(|(last, _)| *last == endpoint) {
            if error.is_of_connection() {
                return;
            }
            self.answers.pop();
        }
        self.answers.push((endpoint, engine_host::cause::chain(&error)));
        self.last = Some(error);
    }

    /// The only refusal itself, or a summary of all answers.
    fn error(&mut self, what: &str) -> RegistryError {
        let last = self.last.take().expect("a failure was added");
        if self.answers.len() == 1 {
            return last;
        }
        let answers: Vec<String> = std::mem::take(&mut self.answers).into_iter().map(|(_, answer)| answer).collect();
        let answers = answers.join("; ");
        RegistryError::NoEndpoint { what: what.to_owned(), answers, last: Box::new(last) }
    }
}
