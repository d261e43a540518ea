//! The file that tells, before anything else is touched, which formats a journal has.

use super::sync_dir;
use crate::OpenError;
use crate::error::IoContext;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The generation of what this crate writes: keys, envelopes, archive files.
pub(crate) const LAYOUT: u16 = 1;

const NAME: &str = "format";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    /// Of what this crate writes.
    pub(crate) layout: u16,
    /// Of the payloads, which are the caller's.
    pub(crate) records: u16,
}

/// The format of the payloads in the journal at `dir`; nothing if there is no journal, or none that was ever opened
/// to the end. Takes no lock and changes nothing.
pub fn format_of(dir: &Path) -> Result<Option<u16>, OpenError> {
    Ok(read(dir)?.map(|formats| formats.records))
}

pub(crate) fn read(dir: &Path) -> Result<Option<Formats>, OpenError> {
    let path = dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.opening("read", &path)?,
    };
    let damaged = || OpenError::Damaged { path: dir.into(), what: format!("its file `{NAME}` says {text:?}") };
    parse(&text).map(Some).ok_or_else(damaged)
}

fn parse(text: &str) -> Option<Formats> {
    let mut lines = text.lines();
    let mut number = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    // Lines may follow: they are for those who know them.
    Some(Formats { layout: number("layout")?, records: number("records")? })
}

/// Writes the file unless it says so already.
pub(crate) fn write(dir: &Path, formats: Formats) -> Result<(), OpenError> {
    if read(dir)? == Some(formats) {
        return Ok(());
    }
    let (path, temporary) = (dir.join(NAME), dir.join("format.tmp"));
    let written = File::create(&temporary).and_then(|mut file| {
        write!(file, "layout {}\nrecords {}\n", formats.layout, formats.records)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(dir)
    });
    written.opening("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_tells_both_formats() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(format_of(dir.path()).unwrap(), None);
        write(dir.path(), Formats { layout: 1, records: 7 }).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "layout 1\nrecords 7\n");
        assert_eq!(format_of(dir.path()).unwrap(), Some(7));
    }

    #[test]
    fn an_unreadable_file_is_an_error_and_not_a_new_journal() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "layout x\n").unwrap();
        assert!(matches!(format_of(dir.path()), Err(OpenError::Damaged { .. })));
    }
}
