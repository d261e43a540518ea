//! The json-file form: one JSON object a line, rotated by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{LINE_LIMIT, Piece, newline, whole_characters};
use crate::shim::output::Stream;

/// Bytes searched for a torn last record. Longer than any record can be.
const TAIL: u64 = 256 * 1024;

#[derive(Clone, Copy)]
pub(super) struct Rotation {
    pub max_size: u64,
    pub max_files: u32,
}

/// Opens the file to append, and returns its size.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let size = mend(&mut file)?;
    Ok((file, size))
}

/// The next piece of the output, end of line included; `None` for the beginning of a line that is shorter than
/// `limit`.
pub(super) fn cut(rest: &[u8], limit: usize) -> Option<Piece<'_>> {
    let window = &rest[..rest.len().min(LINE_LIMIT)];
    let (length, ends_line) = match newline(window) {
        Some(end) => (end + 1, true),
        None if !window.is_empty() && window.len() >= limit.min(LINE_LIMIT) => (whole_characters(window), false),
        None => return None,
    };
    Some(Piece { text: &rest[..length], length, ends_line })
}

pub(super) fn encode(batch: &mut Vec<u8>, stream: Stream, piece: &Piece<'_>, time: &str) {
    batch.extend_from_slice(b"{\"log\":");
    serde_json::to_writer(&mut *batch, &String::from_utf8_lossy(piece.text)).expect("writing to memory succeeds");
    batch.extend_from_slice(b",\"stream\":\"");
    batch.extend_from_slice(stream.name().as_bytes());
    batch.extend_from_slice(b"\",\"time\":\"");
    batch.extend_from_slice(time.as_bytes());
    batch.extend_from_slice(b"\"}\n");
}

impl Rotation {
    /// Whether the last record of a batch, from `start` to `end`, is too much for a file of `size` bytes that has
    /// others.
    pub(super) fn is_due(self, size: u64, start: usize, end: usize) -> bool {
        self.max_size > 0 && size + end as u64 > self.max_size && size + start as u64 > 0
    }

    /// `console.log` becomes `.1`, `.1` becomes `.2`, …; the oldest is removed. A crash in between leaves a gap in the
    /// numbers and loses no file.
    pub(super) fn make_room(self, path: &Path) -> io::Result<()> {
        let kept = self.max_files.max(1);
        if kept == 1 {
            // Removed, not truncated: a reader of the old file reads it to its end, and recognizes the new one as a
            // different file.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for number in (1..kept).rev() {
            let from = if number == 1 { path.to_owned() } else { numbered(path, number - 1) };
            match fs::rename(from, numbered(path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(format!(".{number}"));
    path.into()
}

/// Cuts off a record that a killed shim wrote in part, and returns the size. Its output is still in the FIFO.
fn mend(file: &mut File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok(0);
    }
    let from = size.saturating_sub(TAIL);
    let mut last = [0];
    file.seek(SeekFrom::Start(size - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(size);
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        // A whole file without a line is not a log of this shim and stays as it is, unless it is one torn record.
        if from == 0 {
            file.set_len(0)?;
        }
        return Ok(if from == 0 { 0 } else { size });
    };
    let whole = from + end as u64 + 1;
    file.set_len(whole)?;
    Ok(whole)
}
