//! The file that tells, before anything else is touched, which formats a journal has.
//!
//! It ends with a checksum. One that is damaged or empty stops nothing: the database says the same, and the file is
//! written anew. One of a build before the first release is recognised by its first word: the numbers there meant other
//! shapes, so such a journal is refused whole.

use super::reading::Reading;
use super::{lock, sync_dir};
use crate::OpenError;
use crate::backend::Backend;
use crate::error::IoContext;
use crate::{keys, saved};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use tracing::warn;

/// The generation of what this crate writes: keys, envelopes, archive files.
pub(crate) const LAYOUT: u16 = 1;

const NAME: &str = "format";
/// The first word before the first release, where `journal` stands now.
const UNRELEASED: &[u8] = b"layout ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    /// Of what this crate writes.
    pub(crate) layout: u16,
    /// Of the payloads, which are the caller's.
    pub(crate) records: u16,
}

/// What is known of a journal's formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Nothing if there is no journal, or none that was ever opened to the end; or if neither file nor database tell.
    pub(crate) formats: Option<Formats>,
    /// There is a file, and it is not what was written.
    pub(crate) damaged: bool,
}

/// The format of the payloads in the journal at `dir`; nothing if there is no journal, or none that was ever opened
/// to the end, or none that tells. Changes nothing; takes the lock only if the file is damaged.
pub fn format_of(dir: &Path) -> Result<Option<u16>, OpenError> {
    let formats = match read(dir)? {
        OnDisk::Absent => None,
        OnDisk::Says(formats) => Some(formats),
        OnDisk::Damaged => {
            let _lock = lock(dir)?;
            from_database(dir)?
        }
    };
    Ok(formats.map(|formats| formats.records))
}

/// The formats of the journal at `dir`, from its file or, if that is damaged, from its database. The caller holds the lock.
pub(crate) fn told(dir: &Path) -> Result<Told, OpenError> {
    match read(dir)? {
        OnDisk::Absent => Ok(Told { formats: None, damaged: false }),
        OnDisk::Says(formats) => Ok(Told { formats: Some(formats), damaged: false }),
        OnDisk::Damaged => Ok(Told { formats: from_database(dir)?, damaged: true }),
    }
}

enum OnDisk {
    Absent,
    Says(Formats),
    Damaged,
}

fn read(dir: &Path) -> Result<OnDisk, OpenError> {
    let path = dir.join(NAME);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(OnDisk::Absent),
        Err(source) => Err(OpenError::Io { action: "read", path, source }),
        Ok(bytes) if bytes.starts_with(UNRELEASED) => Err(OpenError::Unreleased { path: dir.into() }),
        Ok(bytes) => Ok(parse(&bytes).map_or(OnDisk::Damaged, OnDisk::Says)),
    }
}

/// The database writes whenever it is opened, so it is asked in a copy. One that does not open has nothing to say here:
/// opening the journal is where that is mended.
fn from_database(dir: &Path) -> Result<Option<Formats>, OpenError> {
    warn!(path = %dir.join(NAME).display(), "the journal's format file is damaged; the database is asked");
    let reading = match Reading::open(dir) {
        Ok(reading) => reading,
        Err(OpenError::Fault(fault)) => {
            warn!(error = &fault as &dyn std::error::Error, "nor does the database tell the journal's format");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let head = reading.get(keys::JOURNAL_HEAD).ok().flatten();
    let meta = head.as_deref().and_then(saved::decode_meta);
    Ok(meta.map(|meta| Formats { layout: LAYOUT, records: meta.format }))
}

fn parse(bytes: &[u8]) -> Option<Formats> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split_inclusive('\n');
    let mut number = |name: &str| lines.next()?.strip_suffix('\n')?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let formats = Formats { layout: number("journal")?, records: number("records")? };
    // Other lines may stand around it: they are for those who know them.
    let sum = lines.find_map(|line| line.strip_prefix("crc32c "))?;
    (sum == checksum(formats)).then_some(formats)
}

fn body(formats: Formats) -> String {
    format!("journal {}\nrecords {}\n", formats.layout, formats.records)
}

fn checksum(formats: Formats) -> String {
    format!("{:08x}\n", crc32c::crc32c(body(formats).as_bytes()))
}

/// Writes the file unless it says so already.
pub(crate) fn write(dir: &Path, formats: Formats) -> Result<(), OpenError> {
    let (path, temporary) = (dir.join(NAME), dir.join("format.tmp"));
    let text = format!("{}crc32c {}", body(formats), checksum(formats));
    if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(dir)
    });
    written.opening("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: Formats = Formats { layout: 1, records: 7 };

    #[test]
    fn the_file_tells_both_formats_and_a_checksum() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(format_of(dir.path()).unwrap(), None);
        write(dir.path(), SEVEN).unwrap();
        let text = fs::read_to_string(dir.path().join("format")).unwrap();
        assert!(text.starts_with("journal 1\nrecords 7\ncrc32c "), "{text}");
        assert_eq!(format_of(dir.path()).unwrap(), Some(7));
        assert_eq!(parse(b"journal 1\nrecords 7\n"), None, "without its checksum");
    }

    #[test]
    fn any_byte_that_changes_makes_it_damaged_or_leaves_it_true() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), Formats { layout: 1, records: 12 }).unwrap();
        let text = fs::read(dir.path().join("format")).unwrap();
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 1;
            assert!(parse(&flipped).is_none_or(|formats| formats.records == 12), "byte {at}");
            assert!(parse(&text[..at]).is_none_or(|formats| formats.records == 12), "cut at {at}");
        }
        assert_eq!(parse(b""), None);
    }
}
