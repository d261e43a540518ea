//! The container's log in the json-file form. Each batch is one write, without a sync: the log survives the shim's
//! death, as the page cache does; a power cut ends the container too, and only the exit record has to survive that.
//!
//! A log that cannot be written never stops the container: records are dropped and counted, with a message in
//! `shim.log`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use isulad_shim::control::LogPlace;
use isulad_shim::state_dir::LOG_INCOMPLETE;

use super::{Stream, time};

/// Longest piece of a line in one record.
pub(crate) const LINE_LIMIT: usize = 16 * 1024;
/// Capacity kept between batches; a burst's larger buffer is freed.
const BUFFER_KEPT: usize = 16 * 1024;
/// Bytes searched for a torn last record. Longer than any record can be.
const TAIL: u64 = 256 * 1024;

pub(crate) struct Log {
    target: Option<Target>,
}

struct Target {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    file: Option<File>,
    file_place: Option<LogPlace>,
    size: u64,
    batch: Vec<u8>,
    /// Records in `batch`.
    records: u64,
    dropped: u64,
}

impl Log {
    /// Touches no file yet: making one takes as long as all other work before the launch.
    pub(crate) fn new(log: &isulad_shim::process::Log) -> Self {
        let target = match log {
            isulad_shim::process::Log::None => None,
            isulad_shim::process::Log::JsonFile { path, max_size, max_files } => Some(Target {
                path: path.clone(),
                max_size: *max_size,
                max_files: *max_files,
                file: None,
                file_place: None,
                size: 0,
                batch: Vec::new(),
                records: 0,
                dropped: 0,
            }),
        };
        Self { target }
    }

    /// Opens the log to append at its end. Every write retries after a failure.
    pub(crate) fn open(&mut self) {
        if let Some(target) = &mut self.target
            && let Err(error) = target.open()
        {
            eprintln!("isulad-shim: cannot open the log `{}`: {error}", target.path.display());
        }
    }

    /// Writes the whole lines in `bytes`, and the pieces of a line that is longer than `limit`. Returns the number of
    /// bytes written; the rest is the beginning of a line, to be passed again with the bytes after it.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8], limit: usize) -> usize {
        let Some(target) = &mut self.target else { return bytes.len() };
        let time = time::rfc3339(time::now());
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let window = &rest[..rest.len().min(LINE_LIMIT)];
            let piece = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => &rest[..=end],
                None if window.len() >= limit.min(LINE_LIMIT) => &rest[..whole_characters(window)],
                None => break,
            };
            target.add(stream, piece, &time);
            done += piece.len();
        }
        target.flush();
        done
    }

    /// Writes the last line, which has no end of line.
    pub(crate) fn write_rest(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(target) = &mut self.target
            && !bytes.is_empty()
        {
            target.add(stream, bytes, &time::rfc3339(time::now()));
            target.flush();
        }
    }

    /// Where the next record will be; `None` where there is no log, or not all of the output is in it.
    pub(crate) fn place(&self) -> Option<LogPlace> {
        let target = self.target.as_ref().filter(|target| target.dropped == 0)?;
        Some(LogPlace { offset: target.size, ..target.file_place? })
    }

    /// Continues in a new file of the same name. On failure the old file stays in use.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        match &mut self.target {
            Some(target) => target.open(),
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
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        self.size = mend(&mut file)?;
        self.file_place = LogPlace::file(&file).ok();
        self.file = Some(file);
        Ok(())
    }

    fn add(&mut self, stream: Stream, piece: &[u8], time: &str) {
        let start = self.batch.len();
        self.batch.extend_from_slice(b"{\"log\":");
        serde_json::to_writer(&mut self.batch, &String::from_utf8_lossy(piece)).expect("writing to memory succeeds");
        self.batch.extend_from_slice(b",\"stream\":\"");
        self.batch.extend_from_slice(stream.name().as_bytes());
        self.batch.extend_from_slice(b"\",\"time\":\"");
        self.batch.extend_from_slice(time.as_bytes());
        self.batch.extend_from_slice(b"\"}\n");
        let full = self.max_size > 0 && self.size + self.batch.len() as u64 > self.max_size;
        if full && self.size + start as u64 > 0 {
            let record = self.batch.split_off(start);
            self.flush();
            if let Err(error) = self.rotate() {
                eprintln!("isulad-shim: cannot rotate the log `{}`: {error}", self.path.display());
            }
            self.batch.extend_from_slice(&record);
        }
        self.records += 1;
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Err(error) = self.append() {
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

    fn append(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = file.write_all(&self.batch) {
            // Half a record would spoil the next one.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += self.batch.len() as u64;
        Ok(())
    }

    /// `console.log` becomes `.1`, `.1` becomes `.2`, …; the oldest is removed. A crash in between leaves a gap in the
    /// numbers and loses no file.
    fn rotate(&mut self) -> io::Result<()> {
        let kept = self.max_files.max(1);
        if kept == 1 {
            // Removed, not truncated: a reader of the old file reads it to its end, and recognizes the new one as a
            // different file.
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for number in (1..kept).rev() {
            let from = if number == 1 { self.path.clone() } else { self.numbered(number - 1) };
            match fs::rename(from, self.numbered(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = None;
        self.file_place = None;
        self.size = 0;
        self.open()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
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
mod tests {
    use super::*;

    fn open(path: PathBuf, max_size: u64, max_files: u32) -> Log {
        let mut log = Log::new(&isulad_shim::process::Log::JsonFile { path, max_size, max_files });
        log.open();
        log
    }

    fn texts(path: &std::path::Path) -> Vec<String> {
        let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        fs::read_to_string(path).unwrap().lines().map(|line| value(line)["log"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn whole_lines_are_written_and_the_rest_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = open(path.clone(), 0, 0);
        assert_eq!(log.write(Stream::Stdout, b"a\nb\xffc\n\"d", LINE_LIMIT), 6);
        assert_eq!(texts(&path), ["a\n", "b\u{fffd}c\n"]);
        log.write_rest(Stream::Stderr, b"\"d");
        assert_eq!(texts(&path)[2], "\"d");
        let last = fs::read_to_string(&path).unwrap().lines().last().unwrap().to_owned();
        assert!(last.starts_with("{\"log\":\"\\\"d\",\"stream\":\"stderr\",\"time\":\"20") && last.ends_with("Z\"}"));
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = open(path.clone(), 0, 0);
        let line = "x".repeat(LINE_LIMIT - 1) + "é" + &"y".repeat(10) + "\n";
        assert_eq!(log.write(Stream::Stdout, line.as_bytes(), LINE_LIMIT), line.len());
        let texts = texts(&path);
        assert_eq!((texts.len(), texts[0].len()), (2, LINE_LIMIT - 1));
        assert_eq!(texts.concat(), line);
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = open(path.clone(), 300, 3);
        for number in 0..40 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes(), LINE_LIMIT);
        }
        let mut kept = Vec::new();
        for name in ["console.log.2", "console.log.1", "console.log"] {
            let file = dir.path().join(name);
            assert!(fs::metadata(&file).unwrap().len() <= 300);
            kept.extend(texts(&file));
        }
        let newest: Vec<_> = (40 - kept.len()..40).map(|number| format!("line {number}\n")).collect();
        assert_eq!(kept, newest);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_single_file_is_replaced_when_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = open(path.clone(), 150, 1);
        log.write(Stream::Stdout, b"1\n2\n3\n4\n", LINE_LIMIT);
        assert_eq!(texts(&path), ["3\n", "4\n"]);
    }

    #[test]
    fn a_torn_record_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        open(path.clone(), 0, 0).write(Stream::Stdout, b"a\n", LINE_LIMIT);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, [&whole[..], &whole[..length]].concat()).unwrap();
            open(path.clone(), 0, 0).write(Stream::Stdout, b"b\n", LINE_LIMIT);
            assert_eq!(texts(&path), ["a\n", "b\n"], "cut at {length}");
        }
    }

    #[test]
    fn a_full_disk_drops_records_and_nothing_else() {
        let mut log = open("/dev/full".into(), 0, 0);
        assert_eq!(log.write(Stream::Stdout, b"a\nb\n", LINE_LIMIT), 4);
        assert_eq!(log.target.as_ref().unwrap().dropped, 2);
    }
}
