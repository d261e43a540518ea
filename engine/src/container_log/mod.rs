//! Reading a container's log: records of either format across rotated files, from the end if asked, from a place to
//! another, and on as it grows.

mod back;
mod files;
mod reader;
mod record;
mod tail;

use isulad_shim::control::LogPlace;

pub(crate) use files::{LogFile, LogFormat};
pub(crate) use reader::Reader;
pub(crate) use record::{Record, Stream};

/// The wanted range of time, both ends included. Unix nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub since: i64,
    pub until: i64,
}

impl Window {
    #[cfg(test)]
    const ALL: Self = Self { since: i64::MIN, until: i64::MAX };

    pub(crate) fn has(&self, record: &Record<'_>) -> bool {
        // Most requests have no bounds, and the time need not be parsed.
        let bounded = self.since > 0 || self.until < i64::MAX;
        !bounded || (self.since..=self.until).contains(&record.time())
    }
}

/// The places from which on records of each output are wanted. `None`: none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Starts {
    pub stdout: Option<LogPlace>,
    pub stderr: Option<LogPlace>,
}

impl Starts {
    fn place_of(&mut self, stream: Stream) -> &mut Option<LogPlace> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

#[cfg(test)]
mod tests;
