//! The `format` file, which is read before any other file is touched.
//!
//! The file ends with a checksum. A damaged or empty file does not prevent an opening: the formats are read from the
//! database, and the file is rewritten. A file of a build before the first release is recognised by its first word:
//! its numbers meant other shapes, so such a journal is rejected as a whole.

use super::reading::ReadCopy;
use super::{lock, sync_dir};
use crate::OpenError;
use crate::backend::Backend;
use crate::error::IoContext;
use crate::{keys, saved};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use tracing::warn;

/// The generation of this crate's own layout: keys, envelopes, archive files.
pub(crate) const LAYOUT: u16 = 1;

const NAME: &str = "format";
/// The first word before the first release, in the place of `journal`.
const UNRELEASED: &[u8] = b"layout ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    /// The generation of this crate's layout.
    pub(crate) layout: u16,
    /// The generation of the payloads, which are the caller's.
    pub(crate) records: u16,
}

/// The known formats of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownFormats {
    /// `None` if there is no journal, if it was never opened completely, or if neither file nor database can be read.
    pub(crate) formats: Option<Formats>,
    /// The file exists and is damaged.
    pub(crate) damaged: bool,
}

/// The format of the payloads in the journal at `dir`; `None` if there is no journal, if it was never opened
/// completely, or if its formats are unreadable. Changes nothing; takes the lock only if the file is damaged. Fails
/// when the journal is from before the first release, and when the file cannot be read or the lock is taken.
pub fn format_of(dir: &Path) -> Result<Option<u16>, OpenError> {
    let formats = match read(dir)? {
        OnDisk::Absent => None,
        OnDisk::Readable(formats) => Some(formats),
        OnDisk::Damaged => {
            let _lock = lock(dir)?;
            from_database(dir)?
        }
    };
    Ok(formats.map(|formats| formats.records))
}

/// The formats of the journal at `dir`, from its file or, if that is damaged, from its database. The caller holds the
/// lock.
pub(crate) fn known_formats(dir: &Path) -> Result<KnownFormats, OpenError> {
    match read(dir)? {
        OnDisk::Absent => Ok(KnownFormats { formats: None, damaged: false }),
        OnDisk::Readable(formats) => Ok(KnownFormats { formats: Some(formats), damaged: false }),
        OnDisk::Damaged => Ok(KnownFormats { formats: from_database(dir)?, damaged: true }),
    }
}

enum OnDisk {
    Absent,
    Readable(Formats),
    Damaged,
}

fn read(dir: &Path) -> Result<OnDisk, OpenError> {
    let path = dir.join(NAME);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(OnDisk::Absent),
        Err(source) => Err(OpenError::Io { action: "read", path, source }),
        Ok(bytes) if bytes.starts_with(UNRELEASED) => Err(OpenError::Unreleased { path: dir.into() }),
        Ok(bytes) => Ok(parse(&bytes).map_or(OnDisk::Damaged, OnDisk::Readable)),
    }
}

/// The database writes whenever it is opened, so a copy is opened. A database that does not open gives no formats
/// here: it is repaired when the journal is opened.
fn from_database(dir: &Path) -> Result<Option<Formats>, OpenError> {
    warn!(path = %dir.join(NAME).display(), "the journal's format file is damaged; its formats are read from the database");
    let reading = match ReadCopy::open(dir) {
        Ok(reading) => reading,
        Err(OpenError::Fault(fault)) => {
            warn!(
                error = &fault as &dyn std::error::Error,
                "the journal's formats cannot be read from its database either"
            );
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
    // Unknown lines are ignored: a later version may add some.
    let sum = lines.find_map(|line| line.strip_prefix("crc32c "))?;
    (sum == checksum(formats)).then_some(formats)
}

fn body(formats: Formats) -> String {
    format!("journal {}\nrecords {}\n", formats.layout, formats.records)
}

fn checksum(formats: Formats) -> String {
    format!("{:08x}\n", crc32c::crc32c(body(formats).as_bytes()))
}

/// Writes the file unless it is up to date.
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
    fn the_file_has_both_formats_and_a_checksum() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(format_of(dir.path()).unwrap(), None);
        write(dir.path(), SEVEN).unwrap();
        let text = fs::read_to_string(dir.path().join("format")).unwrap();
        assert!(text.starts_with("journal 1\nrecords 7\ncrc32c "), "{text}");
        assert_eq!(format_of(dir.path()).unwrap(), Some(7));
        assert_eq!(parse(b"journal 1\nrecords 7\n"), None, "without its checksum");
    }

    #[test]
    fn a_changed_byte_never_gives_other_formats() {
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
