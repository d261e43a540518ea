//! The search for the beginning of a log's last lines.
//!
//! A line is one of the container's output: up to a newline, in one stream, however many records it takes, and whatever
//! of the other stream stands between them. Records outside of the window are ignored.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use isulad_shim::control::LogPlace;

use super::back::Backward;
use super::files::LogFile;
use super::record::{Record, Stream};
use super::{LogFormat, Starts, Window};

/// How far the beginning of a line is looked for behind the last of the others. Its records stand close together.
const LOOK_BACK: u64 = 4 << 20;

pub(super) struct Tail {
    /// The file and offset where reading begins.
    pub file: Option<(File, u64)>,
    /// `None` where there is no log yet: all that comes is wanted.
    pub starts: Option<Starts>,
}

struct Count {
    format: LogFormat,
    wanted: u64,
    found: u64,
    stdout: Output,
    stderr: Output,
    /// Bytes read since the last line was found.
    looked_back: u64,
}

/// One output, read from its end.
#[derive(Default)]
struct Output {
    start: Option<LogPlace>,
    seen: bool,
    /// The first record of its first counted line was not found yet.
    open: bool,
}

pub(super) fn find(log: &LogFile, wanted: u64, window: Window) -> io::Result<Tail> {
    let (stdout, stderr) = (Output::default(), Output::default());
    let mut count = Count { format: log.format, wanted, found: 0, stdout, stderr, looked_back: 0 };
    let mut looked_at = Vec::new();
    let (mut first, mut end) = (None, None);
    for path in log.files()? {
        if count.is_done() && end.is_some() {
            break;
        }
        let Some(file) = log.open(&path)? else { continue };
        // Rotated meanwhile, and seen under its last name.
        let ino = file.metadata()?.ino();
        if looked_at.contains(&ino) {
            continue;
        }
        looked_at.push(ino);
        let length = file.metadata()?.len();
        if end.is_none() {
            // A line that is torn now may be written whole later.
            let last = Backward::new(&file, length)?.end();
            end = Some(LogPlace { ino, created: 0, offset: last });
            first = Some((file.try_clone()?, last));
        }
        if let Some(offset) = count.go_through(&file, ino, length, window)? {
            first = Some((file, offset));
        }
    }
    let starts = end.map(|end| Starts {
        // An output without a wanted line is wanted from the end on.
        stdout: Some(count.stdout.start.unwrap_or(end)),
        stderr: Some(count.stderr.start.unwrap_or(end)),
    });
    Ok(Tail { file: first, starts })
}

impl Count {
    fn is_done(&self) -> bool {
        let open = self.stdout.open || self.stderr.open;
        self.found >= self.wanted && (!open || self.looked_back > LOOK_BACK)
    }

    /// The earliest place of the file that is wanted, if any is.
    fn go_through(&mut self, file: &File, ino: u64, length: u64, window: Window) -> io::Result<Option<u64>> {
        let mut earliest = None;
        let mut lines = Backward::new(file, length)?;
        while !self.is_done() {
            let Some((offset, range)) = lines.previous()? else { break };
            self.looked_back += range.len() as u64;
            let record = Record::parse(self.format, lines.text(range)).filter(|record| window.has(record));
            let Some(record) = record else { continue };
            if self.add(&record, LogPlace { ino, created: 0, offset }) {
                earliest = Some(offset);
            }
        }
        Ok(earliest)
    }

    /// Whether the record is wanted.
    fn add(&mut self, record: &Record<'_>, place: LogPlace) -> bool {
        let room = self.found < self.wanted;
        let output = match record.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        // The last one ends a line also without a newline.
        let ends_line = !std::mem::replace(&mut output.seen, true) || record.ends_line();
        if ends_line {
            output.open = room;
            self.found += u64::from(room);
        }
        let wanted = output.open;
        if wanted {
            output.start = Some(place);
            if ends_line {
                self.looked_back = 0;
            }
        }
        wanted
    }
}
