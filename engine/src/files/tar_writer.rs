//! Writing a tar: POSIX headers, with extended ones for facts that do not fit them.

use std::io::{self, Read, Write};

use rustix::fs::Stat;
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// The largest numbers in fields of eight and of twelve octal digits.
const MOST_ID: u32 = 0o7_777_777;
const MOST_SIZE: u64 = 0o77_777_777_777;
const BUFFER: usize = 256 << 10;

/// One entry without its content.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub kind: EntryType,
    pub facts: &'a Stat,
    /// The size of the content that follows.
    pub size: u64,
    /// The target of a link; empty for other files.
    pub target: &'a [u8],
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

#[derive(Debug)]
pub(super) struct TarWriter<W> {
    out: W,
    buffer: Box<[u8]>,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, buffer: vec![0; BUFFER].into_boxed_slice() }
    }

    /// An entry without content, or the beginning of one.
    pub(super) fn begin(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_size(records.len() as u64);
            header.set_mode(0o644);
            header.as_old_mut().name[..11].copy_from_slice(b"PaxHeader/x");
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(header(entry).as_bytes())
    }

    /// The announced content, exactly `size` bytes. Bytes that a file has lost meanwhile become zeros, and their number
    /// is returned; bytes that it has gained are left out.
    pub(super) fn content(&mut self, mut from: impl Read, size: u64) -> io::Result<u64> {
        let (mut left, mut missing) = (size, 0);
        while left > 0 {
            let wanted = left.min(BUFFER as u64) as usize;
            let count = match from.read(&mut self.buffer[..wanted]) {
                Ok(0) => {
                    self.buffer[..wanted].fill(0);
                    missing += wanted as u64;
                    wanted
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadFailed(error).into()),
            };
            self.out.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        self.pad(size)?;
        Ok(missing)
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let length = size.wrapping_neg() % BLOCK as u64;
        self.out.write_all(&[0; BLOCK][..length as usize])
    }
}

/// Marks a failed read, as distinct from a failed write.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadFailed(io::Error);

impl From<ReadFailed> for io::Error {
    fn from(error: ReadFailed) -> Self {
        let kind = error.0.kind();
        Self::new(kind, error)
    }
}

impl ReadFailed {
    /// Whether the error was made from a `ReadFailed`.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

fn header(entry: &Entry<'_>) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry.kind);
    header.set_mode(entry.facts.st_mode & 0o7777);
    header.set_uid(entry.facts.st_uid.into());
    header.set_gid(entry.facts.st_gid.into());
    header.set_size(entry.size);
    header.set_mtime(u64::try_from(entry.facts.st_mtime).unwrap_or(0));
    let old = header.as_old_mut();
    fill(&mut old.name, entry.name);
    fill(&mut old.linkname, entry.target);
    if matches!(entry.kind, EntryType::Char | EntryType::Block)
        && let Some(ustar) = header.as_ustar_mut()
    {
        ustar.set_device_major(rustix::fs::major(entry.facts.st_rdev));
        ustar.set_device_minor(rustix::fs::minor(entry.facts.st_rdev));
    }
    header.set_cksum();
    header
}

fn fill(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Records for the facts that the header has no room for.
fn records(entry: &Entry<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let facts = entry.facts;
    // A field that is full has no zero byte at its end, which some readers do not like.
    if entry.name.len() >= 100 {
        record(&mut records, b"path", entry.name);
    }
    if entry.target.len() >= 100 {
        record(&mut records, b"linkpath", entry.target);
    }
    if entry.size > MOST_SIZE {
        record(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], facts.st_uid), (b"gid", facts.st_gid)] {
        if id > MOST_ID {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if facts.st_mtime_nsec != 0 || facts.st_mtime < 0 {
        record(&mut records, b"mtime", time(facts.st_mtime, facts.st_mtime_nsec as u32).as_bytes());
    }
    for (name, value) in entry.attributes {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// A decimal number of seconds; the kernel counts nanoseconds upwards, also before 1970.
fn time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (seconds, nanoseconds) if seconds < 0 && nanoseconds > 0 => {
            format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
        }
        (seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// `length key=value\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for size in [1, 5, 90, 91, 92, 93, 94, 95, 989, 990, 991, 9985, 9990] {
            let mut bytes = Vec::new();
            record(&mut bytes, b"path", &vec![b'x'; size]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap(), bytes.len().to_string(), "{size}");
        }
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(time(5, 1), "5.000000001");
        assert_eq!(time(-2, 750_000_000), "-1.250000000");
        assert_eq!(time(-1, 500_000_000), "-0.500000000");
        assert_eq!(time(-2, 0), "-2.000000000");
    }

    #[test]
    fn content_is_as_long_as_it_was_announced() {
        for (has, wanted) in [(0, 10), (600, 600), (1000, 600), (10, 700)] {
            let mut writer = TarWriter::new(Vec::new());
            let missing = writer.content(&vec![b'x'; has][..], wanted).unwrap();
            assert_eq!(missing, wanted.saturating_sub(has as u64));
            assert_eq!(writer.out.len() as u64, wanted.next_multiple_of(512));
            assert_eq!(writer.out.iter().filter(|byte| **byte == b'x').count() as u64, wanted.min(has as u64));
        }
    }
}
