//! The recipe: the steps that put a layer's tar together again.
//!
//! A zstd stream of steps, after a line that names the format. Numbers are little-endian.
//!
//! ```text
//! 0  length u32, bytes                                   these bytes
//! 1  length u16, path, length u64, CRC-32 u32            the content of the file that was made at this path
//! 2  length u16, path, number u64                        from here on the file of this path is shadow/<number>
//! 3  length u64                                          the end of a tar of this length
//! ```
//!
//! A path is where a file really is, beneath `fs` and through no link. A file that the same layer replaces later is
//! moved away under a number, and the recipe has a step for it at that point. So a reader collects all moves first, and
//! then knows for each content: the first move of its path that comes after it has taken it away; without one, it is
//! still in its place.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::LayerError;

const MAGIC: &[u8] = b"isulad layer recipe 1\n";
/// Bytes are collected up to that before they become a step.
const COLLECTED: usize = 64 << 10;
/// Speed matters more: headers become small with any.
const LEVEL: i32 = 1;

const BYTES: u8 = 0;
const CONTENT: u8 = 1;
const MOVED: u8 = 2;
const END: u8 = 3;

pub struct Writer {
    path: PathBuf,
    /// None when the tar will never be put together again.
    out: Option<zstd::Encoder<'static, File>>,
    bytes: Vec<u8>,
}

impl Writer {
    pub fn create(path: PathBuf) -> Result<Self, LayerError> {
        let out = File::create_new(&path).and_then(|file| zstd::Encoder::new(file, LEVEL)).and_then(|mut out| {
            out.include_checksum(true)?;
            out.write_all(MAGIC)?;
            Ok(out)
        });
        match out {
            Ok(out) => Ok(Self { path, out: Some(out), bytes: Vec::with_capacity(COLLECTED) }),
            Err(source) => Err(LayerError::write(&path, source)),
        }
    }

    /// A writer for an archive that is only read: it writes nothing.
    pub fn nowhere() -> Self {
        Self { path: PathBuf::new(), out: None, bytes: Vec::new() }
    }

    pub fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        if self.out.is_none() {
            return Ok(());
        }
        while !bytes.is_empty() {
            let taken = bytes.len().min(COLLECTED - self.bytes.len());
            self.bytes.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.bytes.len() == COLLECTED {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub fn content(&mut self, path: &[u8], length: u64, crc: u32) -> Result<(), LayerError> {
        self.step(CONTENT, path, &[&length.to_le_bytes(), &crc.to_le_bytes()])
    }

    pub fn moved(&mut self, path: &[u8], number: u64) -> Result<(), LayerError> {
        self.step(MOVED, path, &[&number.to_le_bytes()])
    }

    pub fn finish(mut self, length: u64) -> Result<(), LayerError> {
        self.flush()?;
        let Self { path, out, bytes: _ } = self;
        let Some(mut out) = out else { return Ok(()) };
        let written = out.write_all(&[END]).and_then(|()| out.write_all(&length.to_le_bytes()));
        written.and_then(|()| out.finish()).map(drop).map_err(|source| LayerError::write(&path, source))
    }

    fn step(&mut self, kind: u8, path: &[u8], numbers: &[&[u8]]) -> Result<(), LayerError> {
        self.flush()?;
        let length = u16::try_from(path.len()).expect("paths are shorter than a page");
        let step = [&[kind][..], &length.to_le_bytes(), path, &numbers.concat()].concat();
        let Some(out) = &mut self.out else { return Ok(()) };
        out.write_all(&step).map_err(|source| LayerError::write(&self.path, source))
    }

    fn flush(&mut self) -> Result<(), LayerError> {
        let Some(out) = self.out.as_mut().filter(|_| !self.bytes.is_empty()) else { return Ok(()) };
        let length = u32::try_from(self.bytes.len()).expect("no more is collected");
        let written = out.write_all(&[BYTES]).and_then(|()| out.write_all(&length.to_le_bytes()));
        let written = written.and_then(|()| out.write_all(&self.bytes));
        self.bytes.clear();
        written.map_err(|source| LayerError::write(&self.path, source))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Bytes(Vec<u8>),
    Content { path: Vec<u8>, length: u64, crc: u32 },
    Moved { path: Vec<u8>, number: u64 },
    End { length: u64 },
}

pub(super) struct Reader {
    path: PathBuf,
    input: BufReader<zstd::Decoder<'static, BufReader<File>>>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, LayerError> {
        let input = File::open(path).and_then(zstd::Decoder::new);
        let input = input.map_err(|source| LayerError::Open { path: path.to_owned(), source })?;
        let mut reader = Self { path: path.to_owned(), input: BufReader::with_capacity(COLLECTED, input) };
        match reader.take(MAGIC.len())? == MAGIC {
            true => Ok(reader),
            false => Err(reader.damaged("it does not begin as one")),
        }
    }

    /// The next step. After the end there is nothing.
    pub(super) fn next(&mut self) -> Result<Step, LayerError> {
        let [kind] = self.array()?;
        Ok(match kind {
            BYTES => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                if length > COLLECTED {
                    return Err(self.damaged("a step is too long"));
                }
                Step::Bytes(self.take(length)?)
            }
            CONTENT => {
                let path = self.named()?;
                let length = u64::from_le_bytes(self.array()?);
                Step::Content { path, length, crc: u32::from_le_bytes(self.array()?) }
            }
            MOVED => Step::Moved { path: self.named()?, number: u64::from_le_bytes(self.array()?) },
            END => {
                let length = u64::from_le_bytes(self.array()?);
                // The checksum of the whole is behind it.
                match self.input.fill_buf().map(<[u8]>::is_empty) {
                    Ok(true) => Step::End { length },
                    Ok(false) => return Err(self.damaged("it goes on after its end")),
                    Err(error) => return Err(self.damaged(&error.to_string())),
                }
            }
            _ => return Err(self.damaged("a step is of no known kind")),
        })
    }

    pub(super) fn damaged(&self, problem: &str) -> LayerError {
        LayerError::Recipe { path: self.path.clone(), problem: problem.to_owned() }
    }

    fn named(&mut self) -> Result<Vec<u8>, LayerError> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(length.into())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LayerError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes).map(|()| bytes)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, LayerError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes).map(|()| bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), LayerError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => self.damaged(&error.to_string()),
        })
    }
}

/// Which contents are not in their place any more.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// For each path: before which content (by its number in the recipe) a move was, and where to. In order.
    by_path: HashMap<Vec<u8>, Vec<(u64, u64)>>,
}

impl Moves {
    pub(super) fn read(path: &Path) -> Result<Self, LayerError> {
        let mut reader = Reader::open(path)?;
        let mut moves = Self::default();
        let mut contents = 0;
        loop {
            match reader.next()? {
                Step::Bytes(_) => {}
                Step::Content { .. } => contents += 1,
                Step::Moved { path, number } => moves.by_path.entry(path).or_default().push((contents, number)),
                Step::End { .. } => return Ok(moves),
            }
        }
    }

    /// The number under which the file of this path and content was moved away; none if it is still in its place.
    pub(super) fn find(&self, path: &[u8], content: u64) -> Option<u64> {
        let moves = self.by_path.get(path)?;
        let later = moves.partition_point(|(before, _)| *before <= content);
        moves.get(later).map(|(_, number)| *number)
    }
}
