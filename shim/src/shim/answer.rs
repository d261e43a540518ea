//! The readiness pipe: one answer, then its end.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use isulad_shim::Outcome;

pub(crate) struct Answer {
    pipe: Option<File>,
}

impl Answer {
    pub fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()) }
    }

    /// Answers, once; later calls do nothing. Nobody may be listening any more, which is no trouble: who comes back
    /// asks on the attach socket.
    pub fn send(&mut self, outcome: &Outcome) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(&outcome.to_line());
        }
    }
}
