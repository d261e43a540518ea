//! Reading a container's log: json-file lines across rotated files, from the end if asked, and on as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub stream: String,
    pub line: String,
    /// Unix nanoseconds.
    pub time: i64,
}

#[derive(Deserialize)]
struct Stored {
    log: String,
    stream: String,
    /// RFC 3339.
    time: String,
}

/// A place in the log from which reading goes on.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// Bytes of a line that is not complete yet.
    partial: Vec<u8>,
    /// The open file has another name now: nothing more is written to it.
    finished: bool,
    /// Bytes of the open file that were read.
    position: u64,
    /// The file, and the place in it, where reading ends.
    end: Option<(u64, u64)>,
}

/// Longer lines than a writer ever makes are damage; they are passed over.
const LONGEST: usize = 1 << 20;

impl Reader {
    /// From the oldest file on, or so that the last `tail` lines follow.
    pub fn open(path: &Path, tail: Option<u64>) -> io::Result<Self> {
        let mut reader =
            Self { path: path.to_owned(), file: None, partial: Vec::new(), finished: false, position: 0, end: None };
        let oldest = (1..).take_while(|n| rotated(path, *n).exists()).last().unwrap_or(0);
        let Some(tail) = tail else {
            reader.file = open(&rotated(path, oldest))?;
            return Ok(reader);
        };
        let mut left = tail;
        for number in 0..=oldest {
            let Some(mut file) = open(&rotated(path, number))? else { continue };
            let (offset, found) = last_lines(file.get_mut(), left)?;
            file.seek(SeekFrom::Start(offset))?;
            reader.position = offset;
            reader.file = Some(file);
            left -= found;
            if left == 0 {
                break;
            }
        }
        Ok(reader)
    }

    /// Ends with what is there now: a container that writes as fast as it is read would be read for ever.
    pub fn until_now(mut self) -> io::Result<Self> {
        self.end = match self.path.metadata() {
            Ok(meta) => Some((meta.ino(), meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(self)
    }

    fn at_end(&self, file: &File) -> io::Result<bool> {
        match self.end {
            Some((ino, length)) if self.position >= length => Ok(file.metadata()?.ino() == ino),
            _ => Ok(false),
        }
    }

    /// The next entry that is complete; `None` at the end of what is there now.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if self.file.is_none() {
                self.file = open(&self.path)?;
                self.position = 0;
            }
            if let Some(file) = &self.file
                && self.at_end(file.get_ref())?
            {
                return Ok(None);
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            self.position += file.by_ref().take(LONGEST as u64).read_until(b'\n', &mut self.partial)? as u64;
            if self.partial.last() == Some(&b'\n') || self.partial.len() >= LONGEST {
                let line = std::mem::take(&mut self.partial);
                match serde_json::from_slice::<Stored>(&line) {
                    Ok(stored) => return Ok(Some(stored.into())),
                    // Cut by a full disk or a crash of the host: the rest of the log is good.
                    Err(_) => continue,
                }
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// To the file that follows this one, if this one was rotated away.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let ours = file.get_ref().metadata()?;
        let same = |path: &Path| path.metadata().is_ok_and(|meta| meta.ino() == ours.ino() && meta.dev() == ours.dev());
        if same(&self.path) {
            return Ok(false);
        }
        // What was written between our last look and its end is still to be read.
        if !std::mem::replace(&mut self.finished, true) {
            return Ok(true);
        }
        let number = (1..=1_000).find(|n| same(&rotated(&self.path, *n)));
        // Not there any more: the oldest one that is left is the closest.
        let next = match number {
            Some(number) => number - 1,
            None => (1..).take_while(|n| rotated(&self.path, *n).exists()).last().unwrap_or(0),
        };
        let Some(following) = open(&rotated(&self.path, next))? else { return Ok(false) };
        self.partial.clear();
        self.finished = false;
        self.file = Some(following);
        self.position = 0;
        Ok(true)
    }
}

impl From<Stored> for Entry {
    fn from(stored: Stored) -> Self {
        // A time that cannot be read costs the time, not the line.
        let time = chrono::DateTime::parse_from_rfc3339(&stored.time).ok();
        let time = time.and_then(|time| time.timestamp_nanos_opt()).unwrap_or_default();
        Self { stream: stored.stream, line: stored.log, time }
    }
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the last `wanted` lines begin, and how many there are, reading backwards.
fn last_lines(file: &mut File, wanted: u64) -> io::Result<(u64, u64)> {
    const BLOCK: u64 = 64 * 1024;
    let length = file.seek(SeekFrom::End(0))?;
    let (mut end, mut found) = (length, 0);
    let mut block = vec![0; BLOCK as usize];
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + at as u64 + 1;
            // The newline at the very end closes the last line.
            if after == length {
                continue;
            }
            found += 1;
            if found == wanted {
                return Ok((after, found));
            }
        }
        end = begin;
    }
    if wanted == 0 {
        return Ok((length, 0));
    }
    Ok((0, if length > 0 { found + 1 } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn lines(range: std::ops::Range<u32>) -> String {
        range.fold(String::new(), |mut text, n| {
            writeln!(text, r#"{{"log":"{n}\n","stream":"stdout","time":"2024-01-02T03:04:05.000000006Z"}}"#).unwrap();
            text
        })
    }

    fn read(path: &Path, tail: Option<u64>) -> Vec<String> {
        let mut reader = Reader::open(path, tail).unwrap();
        std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| entry.line.trim_end().to_owned()).collect()
    }

    #[test]
    fn tails_reach_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(rotated(&path, 2), lines(0..3)).unwrap();
        std::fs::write(rotated(&path, 1), lines(3..6)).unwrap();
        std::fs::write(&path, lines(6..9)).unwrap();
        let all: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        assert_eq!(read(&path, None), all);
        for tail in 0..=12 {
            let expected = &all[all.len().saturating_sub(tail)..];
            assert_eq!(read(&path, Some(tail as u64)), expected, "tail {tail}");
        }
    }

    #[test]
    fn a_log_that_grows_and_rotates_is_followed_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(&path, lines(0..2)).unwrap();
        let mut reader = Reader::open(&path, None).unwrap();
        let mut drain = || std::iter::from_fn(|| reader.next_entry().unwrap()).count();
        assert_eq!(drain(), 2);
        std::fs::rename(&path, rotated(&path, 1)).unwrap();
        std::fs::write(&path, lines(2..5)).unwrap();
        assert_eq!(drain(), 3);
        assert_eq!(drain(), 0);
    }

    #[test]
    fn reading_until_now_ends_where_the_log_ended_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(&path, lines(0..3)).unwrap();
        let mut reader = Reader::open(&path, Some(2)).unwrap().until_now().unwrap();
        let mut grown = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut grown, lines(3..9).as_bytes()).unwrap();
        // Also under another name, and with a file behind it.
        std::fs::rename(&path, rotated(&path, 1)).unwrap();
        std::fs::write(&path, lines(9..12)).unwrap();
        let found: Vec<_> = std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| entry.line).collect();
        assert_eq!(found, ["1\n", "2\n"]);
    }

    #[test]
    fn a_torn_line_waits_and_a_damaged_one_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let text = lines(0..2);
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut reader = Reader::open(&path, None).unwrap();
        assert!(reader.next_entry().unwrap().is_some());
        assert!(reader.next_entry().unwrap().is_none());
        std::fs::write(&path, format!("{text}garbage\n{}", lines(2..3))).unwrap();
        assert_eq!(reader.next_entry().unwrap().unwrap().line, "1\n");
        assert_eq!(reader.next_entry().unwrap().unwrap().line, "2\n");
    }

    #[test]
    fn an_absent_log_is_empty() {
        assert!(read(Path::new("/no/such/console.log"), None).is_empty());
    }
}
