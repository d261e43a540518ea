//! Where an image was found, and where else the same content may be had.

use std::sync::Arc;

use super::RegistryError;
use super::remote::Remote;

/// Where an image was found. Cheap to clone; connections are kept as long as a clone lives.
#[derive(Debug, Clone)]
pub struct Source(Arc<Vec<Arc<Remote>>>);

impl Source {
    /// The one that answered, and those that were not asked: since content is named by its digest, what the first cannot deliver
    /// may come from them.
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

/// Asks one after the other until one has an answer; gives its number as well. `what` is what is wanted, in words.
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

/// What those answered that had nothing for us.
#[derive(Default)]
pub(super) struct Refusals {
    /// With the number of the endpoint that gave it.
    answers: Vec<(usize, String)>,
    last: Option<RegistryError>,
}

impl Refusals {
    /// Who is asked after number `from` has failed with `error`, or the error of all.
    pub fn next(
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

    /// Each endpoint is quoted once. If it was asked in two ways, an answer says more than a failed connection, and of two of those
    /// the first.
    fn add(&mut self, endpoint: usize, error: RegistryError) {
        tracing::debug!("{}", crate::cause::chain(&error));
        if self.answers.last().is_some_and(|(last, _)| *last == endpoint) {
            if error.is_of_connection() {
                return;
            }
            self.answers.pop();
        }
        self.answers.push((endpoint, crate::cause::chain(&error)));
        self.last = Some(error);
    }

    /// The only refusal itself, or what each of them said.
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
