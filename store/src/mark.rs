//! The number of the newest acknowledged event, kept apart from the database, to detect a database that comes back
//! without its newest events.
//!
//! The mark is written after every sync and never synced itself: it is never ahead of the durable events, and falls
//! behind only by a power cut.

use crate::Seq;
use crate::bytes::{self, Fields};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const NAME: &str = "mark";

pub(crate) struct Mark {
    file: File,
}

impl Mark {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(dir.join(NAME))?;
        Ok(Self { file })
    }

    pub(crate) fn set(&self, last: Seq) -> io::Result<()> {
        let mut bytes = last.to_le_bytes().to_vec();
        bytes::seal(&mut bytes);
        self.file.write_all_at(&bytes, 0)
    }
}

/// The number in the mark; `None` if there is no readable mark.
pub(crate) fn read(dir: &Path) -> Option<Seq> {
    let bytes = fs::read(dir.join(NAME)).ok()?;
    Fields(bytes::unseal(&bytes)?).u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_the_last_number_set() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let mark = Mark::open(dir.path()).unwrap();
        assert_eq!(read(dir.path()), None);
        mark.set(700).unwrap();
        mark.set(3).unwrap();
        assert_eq!(read(dir.path()), Some(3));
        fs::write(dir.path().join(NAME), b"torn").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
