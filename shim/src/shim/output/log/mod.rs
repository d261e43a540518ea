//! The container's log. Each batch is one write, without a sync: the log survives the shim's death, as the page cache
//! does; a power cut ends the container too, and only the exit record has to survive that.
//!
//! A log that cannot be written never stops the container: records are dropped and counted, with a message in
//! `shim.log`.

mod cri;
mod json_file;

use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use isulad_shim::Process;
use isulad_shim::control::LogPlace;
use isulad_shim::state_dir::LOG_INCOMPLETE;

use super::{Stream, time};

/// Longest piece of a line in one record.
pub(crate) const LINE_LIMIT: usize = 16 * 1024;
/// Capacity kept between batches; a burst's larger buffer is freed.
const BUFFER_KEPT: usize = 16 * 1024;
/// Bytes of records after which a batch is written: the records of short lines take many times their size. A batch that
/// does not fit on the disk is lost as a whole.
const BATCH_LIMIT: usize = 64 * 1024;

pub(crate) struct Log {
    target: Option<Target>,
}

struct Target {
    path: PathBuf,
    format: Format,
    file: Option<File>,
    file_place: Option<LogPlace>,
    size: u64,
    batch: Vec<u8>,
    /// Records in `batch`.
    records: u64,
    dropped: u64,
}

enum Format {
    JsonFile(json_file::Rotation),
    Cri(cri::Records),
}

/// The part of the output that one record holds.
struct Piece<'a> {
    text: &'a [u8],
    /// Bytes of the output: the text, and the end of line where that is not in the text.
    length: usize,
    ends_line: bool,
}

impl Log {
    /// Touches no file yet: making one takes as long as all other work before the launch.
    pub(crate) fn of(process: &Process) -> Self {
        Self::new(&process.log, process.terminal)
    }

    /// Keeps nothing.
    pub(crate) fn none() -> Self {
        Self { target: None }
    }

    fn new(log: &isulad_shim::process::Log, terminal: bool) -> Self {
        use isulad_shim::process::Log as Described;
        let (path, format) = match log {
            Described::None => return Self::none(),
            Described::JsonFile { path, max_size, max_files } => {
                (path, Format::JsonFile(json_file::Rotation { max_size: *max_size, max_files: *max_files }))
            }
            Described::Cri { path } => (path, Format::Cri(cri::Records::new(terminal))),
        };
        let target = Target {
            path: path.clone(),
            format,
            file: None,
            file_place: None,
            size: 0,
            batch: Vec::new(),
            records: 0,
            dropped: 0,
        };
        Self { target: Some(target) }
    }

    /// Opens the log to append at its end. Every write retries after a failure.
    pub(crate) fn open(&mut self) {
        if let Some(target) = &mut self.target
            && let Err(error) = target.open()
        {
            eprintln!("isulad-shim: {}", target.unopened(&error));
        }
    }

    /// Writes the whole lines in `bytes`, and the pieces of a line that is longer than `limit`. Returns the number of
    /// bytes written; the rest is the beginning of a line, to be passed again with the bytes after it.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8], limit: usize) -> usize {
        let Some(target) = &mut self.target else { return bytes.len() };
        let done = target.add_lines(stream, bytes, limit);
        target.flush();
        done
    }

    /// Writes everything, also a last line that has no end of line.
    pub(crate) fn write_rest(&mut self, stream: Stream, bytes: &[u8]) {
        let Some(target) = &mut self.target else { return };
        let done = target.add_lines(stream, bytes, LINE_LIMIT);
        let time = time::rfc3339(time::now());
        for text in bytes[done..].chunks(LINE_LIMIT) {
            target.add(stream, &Piece { text, length: text.len(), ends_line: false }, &time);
        }
        target.flush();
    }

    /// Where the next record will be; `None` where there is no log, or not all of the output is in it.
    pub(crate) fn place(&self) -> Option<LogPlace> {
        let target = self.target.as_ref().filter(|target| target.dropped == 0 && target.is_exact())?;
        Some(LogPlace { offset: target.size, ..target.file_place? })
    }

    /// Continues in a new file of the same name: the next record begins there. On failure the old file stays in use.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        match &mut self.target {
            Some(target) => target.open().map_err(|error| io::Error::new(error.kind(), target.unopened(&error))),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "this container has no log file")),
        }
    }

    /// Prints the number of missing records at the end.
    pub(crate) fn report(&self) {
        if let Some(Target { dropped: dropped @ 1.., path, .. }) = &self.target {
            eprintln!("isulad-shim: {dropped} records are missing in the log `{}`", path.display());
        }
    }
}

impl Target {
    fn open(&mut self) -> io::Result<()> {
        let (file, size) = match &self.format {
            Format::JsonFile(_) => json_file::open(&self.path)?,
            Format::Cri(_) => cri::open(&self.path)?,
        };
        self.size = size;
        self.file_place = LogPlace::file(&file).ok();
        self.file = Some(file);
        Ok(())
    }

    fn unopened(&self, error: &io::Error) -> String {
        format!("cannot open the log `{}`: {error}", self.path.display())
    }

    /// Whether the output can be read back from the log as it was.
    fn is_exact(&self) -> bool {
        match &self.format {
            Format::JsonFile(_) => true,
            Format::Cri(records) => records.are_exact(),
        }
    }

    /// Returns the number of bytes that are in the batch, or written already.
    fn add_lines(&mut self, stream: Stream, bytes: &[u8], limit: usize) -> usize {
        let time = time::rfc3339(time::now());
        let mut done = 0;
        loop {
            let rest = &bytes[done..];
            let piece = match &self.format {
                Format::JsonFile(_) => json_file::cut(rest, limit),
                Format::Cri(records) => records.cut(rest, limit),
            };
            let Some(piece) = piece else { return done };
            self.add(stream, &piece, &time);
            done += piece.length;
        }
    }

    fn add(&mut self, stream: Stream, piece: &Piece<'_>, time: &str) {
        let start = self.batch.len();
        match &mut self.format {
            Format::JsonFile(rotation) => {
                json_file::encode(&mut self.batch, stream, piece, time);
                let rotation = *rotation;
                if rotation.is_due(self.size, start, self.batch.len()) {
                    self.rotate(rotation, start);
                }
            }
            Format::Cri(records) => records.encode(&mut self.batch, stream, piece, time),
        }
        self.records += 1;
        if self.batch.len() >= BATCH_LIMIT {
            self.flush();
        }
    }

    /// Makes a record from `start` of the batch the first one of a new file.
    fn rotate(&mut self, rotation: json_file::Rotation, start: usize) {
        let record = self.batch.split_off(start);
        self.flush();
        let rotated = rotation.make_room(&self.path).and_then(|()| {
            self.file = None;
            self.file_place = None;
            self.size = 0;
            self.open()
        });
        if let Err(error) = rotated {
            eprintln!("isulad-shim: cannot rotate the log `{}`: {error}", self.path.display());
        }
        self.batch.extend_from_slice(&record);
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let appended = self.append();
        if let Format::Cri(records) = &mut self.format {
            records.settle(appended.is_ok());
        }
        if let Err(error) = appended {
            if self.dropped == 0 {
                eprintln!("isulad-shim: records are dropped: cannot write the log `{}`: {error}", self.path.display());
                // A relative path: the working directory is the state directory, which is in memory.
                let _ = fs::write(LOG_INCOMPLETE, "");
            }
            self.dropped += self.records;
        }
        self.batch.clear();
        self.batch.shrink_to(BUFFER_KEPT);
        self.records = 0;
    }

    /// Writes the batch, all of it or nothing.
    fn append(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let mut written = 0;
        while written < self.batch.len() {
            match file.write(&self.batch[written..]) {
                Ok(count @ 1..) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed => {
                    // Half a record would spoil the next one. The size is asked for: another program may have emptied
                    // the file.
                    let _ = file.metadata().and_then(|now| file.set_len(now.len().saturating_sub(written as u64)));
                    return Err(failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()));
                }
            }
        }
        self.size += self.batch.len() as u64;
        Ok(())
    }
}

/// Found with the C library's search, several times as fast as a loop in a binary that is optimized for size.
fn newline(mut bytes: &[u8]) -> Option<usize> {
    let whole = bytes;
    let end = bytes.skip_until(b'\n').ok()?.checked_sub(1)?;
    (whole[end] == b'\n').then_some(end)
}

/// The longest beginning that does not cut a UTF-8 character. Bytes that are no UTF-8 anyway are cut anywhere.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len().saturating_sub(1)) {
        let lead = bytes[bytes.len() - back];
        let length = match lead {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => break,
        };
        return if length > back { bytes.len() - back } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
