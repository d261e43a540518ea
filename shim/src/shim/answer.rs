//! The readiness pipe: it carries one answer and is then closed.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use isulad_shim::Outcome;

pub(crate) struct Answer {
    pipe: Option<File>,
}

impl Answer {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()) }
    }

    /// Answers once; later calls do nothing. A failed write is ignored: a daemon that has restarted asks on the attach
    /// socket.
    pub(super) fn send(&mut self, outcome: &Outcome) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(&outcome.to_line());
        }
    }
}
