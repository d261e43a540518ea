//! Reading forward, in large blocks, whole lines only. A line that is not complete is never taken: the next look finds
//! it complete, or replaced, where a shim was killed over it and the next one wrote it anew.

use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use isulad_shim::control::LogPlace;
use memchr::memchr;

use super::files::LogFile;
use super::record::Record;
use super::{Starts, Stream, Window, tail};

const BLOCK: usize = 256 * 1024;
/// Longer lines than a writer ever makes are damage; they are passed over.
const LONGEST: usize = 1 << 20;

/// A place in the log from which reading goes on.
#[derive(Debug)]
pub(crate) struct Reader {
    log: LogFile,
    file: Option<Open>,
    /// `block[given..filled]` was read and not returned yet.
    block: Vec<u8>,
    given: usize,
    filled: usize,
    /// Inside a line that is too long.
    skipping: bool,
    /// Another file has followed the open one: nothing more is written to this.
    finished: bool,
    /// The file, and the place in it, where reading ends.
    end: Option<LogPlace>,
    starts: Option<Starts>,
    /// The file that was read before this one.
    previous: Option<LogPlace>,
    /// A file between two that were read was gone.
    gap: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    ino: u64,
    /// The offset of `block[given]` in the file.
    position: u64,
}

struct Line {
    range: Range<usize>,
    ino: u64,
    at: u64,
}

impl Open {
    fn at(file: File, position: u64) -> io::Result<Self> {
        let ino = file.metadata()?.ino();
        Ok(Self { file, ino, position })
    }
}

impl Reader {
    /// A reader from the oldest file on.
    pub(crate) fn open(log: &LogFile) -> io::Result<Self> {
        let file = log.files()?.last().map(|oldest| log.open(oldest)).transpose()?.flatten();
        Self::new(log, file.map(|file| Open::at(file, 0)).transpose()?, None)
    }

    /// A reader of the last `count` lines of the window, and of all later ones.
    pub(crate) fn tail(log: &LogFile, count: u64, window: Window) -> io::Result<Self> {
        let tail = tail::find(log, count, window)?;
        let file = tail.file.map(|(file, position)| Open::at(file, position)).transpose()?;
        Self::new(log, file, tail.starts)
    }

    /// Each output from its own place on, up to `end`. `None` when one of the places is gone.
    pub(crate) fn between(log: &LogFile, starts: Starts, end: Option<LogPlace>) -> io::Result<Option<Self>> {
        let mut wanted: Vec<LogPlace> = [starts.stdout, starts.stderr].into_iter().flatten().collect();
        let mut first = None;
        for path in log.files()? {
            let Some(file) = log.open(&path)? else { continue };
            let place = LogPlace::file(&file)?;
            let before = wanted.len();
            let here = wanted.iter().filter(|start| start.same_file(&place)).map(|start| start.offset).min();
            wanted.retain(|start| !start.same_file(&place));
            if wanted.len() < before {
                first = here.map(|offset| Open::at(file, offset)).transpose()?;
            }
        }
        if !wanted.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { end, ..Self::new(log, first, Some(starts))? }))
    }

    fn new(log: &LogFile, file: Option<Open>, starts: Option<Starts>) -> io::Result<Self> {
        Ok(Self {
            log: log.clone(),
            file,
            block: Vec::new(),
            given: 0,
            filled: 0,
            skipping: false,
            finished: false,
            end: None,
            starts,
            previous: None,
            gap: false,
        })
    }

    /// Ends with the present end of the log: a container that writes as fast as it is read would be read for ever.
    pub(crate) fn until_now(mut self) -> io::Result<Self> {
        for path in self.log.files()? {
            if let Some(file) = self.log.open(&path)? {
                self.end = Some(LogPlace::file(&file)?);
                break;
            }
        }
        Ok(self)
    }

    /// Whether nothing was missing between the beginning and the end that was given.
    pub(crate) fn is_whole(&self) -> bool {
        !self.gap && self.end.is_none_or(|end| self.file.as_ref().is_some_and(|file| file.ino == end.ino))
    }

    /// Gives every record that is there now and wanted, until `each` has enough.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&Record<'_>) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        while let Some(Line { range, ino, at }) = self.next_line()? {
            let Some(record) = Record::parse(self.log.format, &self.block[range]) else {
                // Cut by a full disk or a crash of the host: the rest of the log is good.
                continue;
            };
            let wanted = self.starts.as_mut().is_none_or(|starts| starts.reached(record.stream, ino, at));
            if wanted && each(&record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        // A follower may wait for days.
        self.block = Vec::new();
        (self.given, self.filled) = (0, 0);
        Ok(ControlFlow::Continue(()))
    }

    /// The next line that is complete; `None` at the present end.
    fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if self.file.is_none() {
                let Some(file) = self.log.open(&self.log.path)? else { return Ok(None) };
                self.file = Some(Open::at(file, 0)?);
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            if let Some(length) = memchr(b'\n', &self.block[self.given..self.filled]) {
                let range = self.given..self.given + length;
                let line = Line { range, ino: file.ino, at: file.position };
                self.given += length + 1;
                file.position += length as u64 + 1;
                if !std::mem::take(&mut self.skipping) {
                    return Ok(Some(line));
                }
                continue;
            }
            if self.filled - self.given >= LONGEST {
                file.position += (self.filled - self.given) as u64;
                self.given = self.filled;
                self.skipping = true;
            }
            if self.fill()? {
                continue;
            }
            self.given = self.filled;
            if self.is_at_end()? || !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Reads on behind the block; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        self.block.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        if self.block.len() < self.filled + BLOCK {
            self.block.resize(self.filled + BLOCK, 0);
        }
        let from = file.position + self.filled as u64;
        let room = match self.end {
            Some(end) if end.ino == file.ino => usize::try_from(end.offset.saturating_sub(from)).unwrap_or(usize::MAX),
            Some(_) | None => usize::MAX,
        };
        let room = room.min(self.block.len() - self.filled);
        let count = loop {
            match file.file.read_at(&mut self.block[self.filled..self.filled + room], from) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.filled += count;
        Ok(count > 0)
    }

    /// Nothing is behind the place that was given as the end, unless it is gone: the file may have been emptied.
    fn is_at_end(&mut self) -> io::Result<bool> {
        let (Some(end), Some(file)) = (&self.end, &self.file) else { return Ok(false) };
        if end.ino != file.ino {
            return Ok(false);
        }
        self.gap |= file.file.metadata()?.len() < end.offset;
        Ok(true)
    }

    /// Goes on to the following file, if there is one. Returns whether there is more to read.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let (log, ours, ended) = (&self.log, file.file.metadata()?, LogPlace::file(&file.file)?);
        let is_ours =
            |path: &PathBuf| log.metadata(path).is_ok_and(|meta| (meta.ino(), meta.dev()) == (ours.ino(), ours.dev()));
        if is_ours(&log.path) {
            // It may have been moved back.
            self.finished = false;
            // Emptied by another program: the content is all new.
            let emptied = ours.len() < file.position;
            if emptied {
                file.position = 0;
                let ino = file.ino;
                self.skipping = false;
                self.gap = true;
                self.begin_where(|start| start == ino);
            }
            return Ok(emptied);
        }
        let files = log.files()?;
        let index = files.iter().position(is_ours);
        let Some(next) = self.next_index(&files, index) else { return Ok(true) };
        let Some(following) = log.open(&files[next])? else { return Ok(false) };
        // Until the following file is there, its writer may go on in this one: those bytes are still to be read.
        if !std::mem::replace(&mut self.finished, true) {
            return Ok(true);
        }
        // Rotated once more meanwhile: the opened file may be one too far.
        if index.is_some() && log.files()?.iter().position(is_ours) != index {
            return Ok(true);
        }
        if index.is_none() {
            self.gap = true;
            let left: Vec<u64> =
                files.iter().filter_map(|path| log.metadata(path).ok()).map(|meta| meta.ino()).collect();
            self.begin_where(|start| !left.contains(&start));
        }
        self.begin_where(|start| start == ours.ino());
        self.previous = Some(ended);
        self.skipping = false;
        self.finished = false;
        self.file = Some(Open::at(following, 0)?);
        Ok(true)
    }

    /// The file behind the open one, whose index is given. If that is gone, the oldest one that is left and was not
    /// read is the closest. `None`: the open file is the newest one again.
    fn next_index(&self, files: &[PathBuf], index: Option<usize>) -> Option<usize> {
        let was_read = |path: &PathBuf| {
            let left = self.log.open(path).ok().flatten().and_then(|file| LogPlace::file(&file).ok());
            left.is_some_and(|left| self.previous.is_some_and(|previous| previous.same_file(&left)))
        };
        match index.or_else(|| (1..files.len()).find(|index| was_read(&files[*index]))) {
            Some(index) => index.checked_sub(1),
            None => files.len().checked_sub(1),
        }
    }

    /// Makes all that follows wanted, for an output whose start is in a file that is not read on.
    fn begin_where(&mut self, is_behind: impl Fn(u64) -> bool) {
        let Some(Starts { stdout, stderr }) = &mut self.starts else { return };
        for start in [stdout, stderr].into_iter().flatten().filter(|start| is_behind(start.ino)) {
            *start = STARTED;
        }
    }
}

/// The start of an output that has begun already.
const STARTED: LogPlace = LogPlace { ino: 0, created: 0, offset: 0 };

impl Starts {
    /// Whether a record at this place is wanted. The first wanted record of an output marks it as begun: its place is
    /// forgotten.
    fn reached(&mut self, stream: Stream, ino: u64, at: u64) -> bool {
        let start = self.place_of(stream);
        match start {
            Some(place) if *place == STARTED => true,
            Some(place) if place.ino == ino && at >= place.offset => {
                *place = STARTED;
                true
            }
            Some(_) | None => false,
        }
    }
}
