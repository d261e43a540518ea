//! The CRI form: `<time> <stdout|stderr> <P|F> <text>`, a line each. `P` is a part of a line, `F` its end. Kubelet
//! chooses the path and rotates: it renames the file and has it reopened.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use isulad_shim::regular_file;

use super::{LINE_LIMIT, Piece, newline, whole_characters};
use crate::shim::output::Stream;

/// The form of a time; `0` is any digit.
const TIME: &[u8] = b"0000-00-00T00:00:00.000000000Z";
/// The longest record: time, stream, tag and text, each with the byte behind it.
const RECORD_LIMIT: usize = TIME.len() + 1 + 7 + 2 + LINE_LIMIT + 1;

pub(super) struct Records {
    /// A terminal ends its lines with two bytes; the first one is not part of the text.
    terminal: bool,
    /// Of stdout and stderr.
    lines: [Line; 2],
}

/// The line of one output that is being written.
#[derive(Clone, Copy, Default)]
struct Line {
    /// The last record in the file is a part of it.
    begun: bool,
    /// The same, of the file together with the batch.
    begun_in_batch: bool,
    /// The batch has records of this output.
    batched: bool,
    /// The records behind its beginning were lost: the next record belongs to another line.
    broken: bool,
}

/// Opens the file to append, and returns its size.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = open_or_make(path)?;
    let size = mend(&file)?;
    Ok((file, size))
}

fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o640);
    match regular_file::open(path, &options) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match options.clone().create_new(true).open(path) {
        // Another program was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => regular_file::open(path, &options),
        made => made,
    }
}

impl Records {
    pub(super) fn new(terminal: bool) -> Self {
        Self { terminal, lines: [Line::default(); 2] }
    }

    pub(super) fn are_exact(&self) -> bool {
        !self.terminal
    }

    /// The next piece of the output, its text without the end of line; `None` for the beginning of a line that is not
    /// longer than `limit`.
    pub(super) fn cut<'a>(&self, rest: &'a [u8], limit: usize) -> Option<Piece<'a>> {
        let end_of_line = if self.terminal { 2 } else { 1 };
        let window = &rest[..rest.len().min(LINE_LIMIT + end_of_line)];
        if let Some(end) = newline(window) {
            let line = &window[..end];
            let text = if self.terminal { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
            if text.len() <= LINE_LIMIT {
                return Some(Piece { text, length: end + 1, ends_line: true });
            }
        } else if window.len() < limit.min(LINE_LIMIT) + end_of_line {
            // It may still become a line of one record.
            return None;
        }
        let length = whole_characters(&window[..window.len().min(LINE_LIMIT)]);
        Some(Piece { text: &window[..length], length, ends_line: false })
    }

    pub(super) fn encode(&mut self, batch: &mut Vec<u8>, stream: Stream, piece: &Piece<'_>, time: &str) {
        let line = &mut self.lines[stream as usize];
        if std::mem::take(&mut line.broken) {
            put(batch, time, stream, b" F ", b"");
        }
        put(batch, time, stream, if piece.ends_line { b" F " } else { b" P " }, piece.text);
        line.batched = true;
        line.begun_in_batch = !piece.ends_line;
    }

    /// The batch was written, or lost.
    pub(super) fn settle(&mut self, written: bool) {
        for line in &mut self.lines {
            if written {
                line.begun = line.begun_in_batch;
            } else {
                line.broken |= line.begun && line.batched;
                line.begun_in_batch = line.begun;
            }
            line.batched = false;
        }
    }
}

fn put(batch: &mut Vec<u8>, time: &str, stream: Stream, tag: &[u8; 3], text: &[u8]) {
    for part in [time.as_bytes(), b" ", stream.name().as_bytes(), tag, text, b"\n"] {
        batch.extend_from_slice(part);
    }
}

/// Makes the file end with a whole line, and returns its size. A record that a killed shim wrote in part is cut off:
/// its output is still in the FIFO. Any other beginning of a line is kept, and ended.
fn mend(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut last = [0];
    if size == 0 || (file.read_exact_at(&mut last, size - 1).map(|()| last == *b"\n")?) {
        return Ok(size);
    }
    let from = size.saturating_sub(RECORD_LIMIT as u64);
    let mut tail = vec![0; (size - from) as usize];
    file.read_exact_at(&mut tail, from)?;
    let torn = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &tail[end + 1..],
        None if from == 0 => &tail[..],
        None => &[],
    };
    if is_begun(torn) {
        let whole = size - torn.len() as u64;
        file.set_len(whole)?;
        return Ok(whole);
    }
    let mut file = file;
    file.write_all(b"\n")?;
    Ok(size + 1)
}

/// Whether these bytes can be the beginning of a record.
fn is_begun(bytes: &[u8]) -> bool {
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    !bytes.is_empty() && bytes.iter().zip(TIME).all(fits)
}

#[cfg(test)]
mod tests;
