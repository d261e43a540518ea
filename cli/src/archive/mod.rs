//! Archives on their way between a file and the daemon, in pieces: never whole in memory.

mod download;
mod upload;

pub(crate) use download::Target;
pub(crate) use upload::Archive;

/// The word that means standard input.
pub(crate) const STDIN: &str = "-";
