//! From the container to its log and its clients, and from the clients to the container.

pub(crate) mod client;
pub(crate) mod hub;
pub(crate) mod input;
pub(crate) mod log;
mod nudges;
pub(crate) mod pump;
pub(crate) mod screen;
pub(crate) mod time;
mod typed;

/// Which of the container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
