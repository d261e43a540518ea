//! Streams between the container, its log and its clients.

pub(crate) mod client;
pub(crate) mod hub;
pub(crate) mod input;
pub(crate) mod log;
pub(crate) mod pump;
pub(crate) mod screen;
pub(crate) mod time;
mod typed;
mod write_signals;

/// One of the container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
