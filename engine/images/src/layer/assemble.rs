//! From a layer's directory to its tar.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use flate2::Crc;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use sha2::{Digest as _, Sha256};

use super::error::shown;
use super::recipe::{Moves, Reader, Step};
use super::{FILES, Facts, LayerError, RECIPE, SHADOW, read_facts};
use engine_domain::id::Digest;

const BUFFER: usize = 256 << 10;

/// Writes the tar that the layer in this directory was unpacked from, uncompressed, byte for byte. An error if the
/// layer has changed since, which may show only at the end: the caller then discards the output so far.
pub fn assemble(dir: &Path, out: impl Write) -> Result<Facts, LayerError> {
    let facts = read_facts(dir)?;
    let recipe = dir.join(RECIPE);
    let shadow = dir.join(SHADOW);
    let has_moved = fs::read_dir(&shadow).map(|mut entries| entries.next().is_some());
    let has_moved = has_moved.map_err(|source| LayerError::Open { path: shadow.clone(), source })?;
    let moves = if has_moved { Moves::read(&recipe)? } else { Moves::default() };
    let mut assembly = Assembly {
        dir,
        files: open_directory(&dir.join(FILES))?,
        shadow: open_directory(&shadow)?,
        moves,
        buffer: vec![0; BUFFER],
        out: BufWriter::with_capacity(BUFFER, out),
        hash: Sha256::new(),
        length: 0,
        contents: 0,
        expected: facts,
    };
    let mut reader = Reader::open(&recipe)?;
    loop {
        match reader.next()? {
            Step::Bytes(bytes) => assembly.pass(&bytes)?,
            Step::Content { path, length, crc } => assembly.content(&path, length, crc)?,
            Step::Moved { .. } => {}
            Step::End { .. } => return assembly.finish(),
        }
    }
}

struct Assembly<'a, W: Write> {
    dir: &'a Path,
    files: OwnedFd,
    shadow: OwnedFd,
    moves: Moves,
    buffer: Vec<u8>,
    out: BufWriter<W>,
    hash: Sha256,
    length: u64,
    contents: u64,
    expected: Facts,
}

impl<W: Write> Assembly<'_, W> {
    fn pass(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.length += bytes.len() as u64;
        if self.length > self.expected.tar_size {
            // A damaged recipe shall not write for ever.
            return Err(self.mismatch(Digest(self.hash.clone().finalize().into())));
        }
        self.hash.update(bytes);
        self.out.write_all(bytes).map_err(|source| LayerError::Output { source })
    }

    fn content(&mut self, path: &[u8], length: u64, crc: u32) -> Result<(), LayerError> {
        let moved = self.moves.find(path, self.contents);
        self.contents += 1;
        let opened = match moved {
            None => open_file(&self.files, path),
            Some(number) => open_file(&self.shadow, number.to_string().as_bytes()),
        };
        let changed = || LayerError::Changed { path: self.dir.to_owned(), name: shown(path) };
        let mut file = match opened {
            Ok(file) => file,
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => return Err(changed()),
            Err(error) => {
                let source = error.into();
                return Err(LayerError::Missing { path: self.dir.to_owned(), name: shown(path), source });
            }
        };
        let is_same = fstat(&file).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && u64::try_from(stat.st_size) == Ok(length)
        });
        if !is_same {
            return Err(changed());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let copied = self.copy(&mut file, path, length, &mut buffer);
        self.buffer = buffer;
        match copied? == crc {
            true => Ok(()),
            false => Err(LayerError::Changed { path: self.dir.to_owned(), name: shown(path) }),
        }
    }

    /// Passes on a file of this length. Its checksum.
    fn copy(&mut self, file: &mut File, path: &[u8], mut left: u64, buffer: &mut [u8]) -> Result<u32, LayerError> {
        let mut crc = Crc::new();
        while left > 0 {
            let wanted = left.min(buffer.len() as u64) as usize;
            let read = match file.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(LayerError::Changed { path: self.dir.to_owned(), name: shown(path) }),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(LayerError::Content { path: self.dir.to_owned(), name: shown(path), source });
                }
            };
            crc.update(&buffer[..read]);
            self.pass(&buffer[..read])?;
            left -= read as u64;
        }
        Ok(crc.sum())
    }

    fn finish(mut self) -> Result<Facts, LayerError> {
        let found = Digest(std::mem::take(&mut self.hash).finalize().into());
        if (found, self.length) != (self.expected.diff_id, self.expected.tar_size) {
            return Err(self.mismatch(found));
        }
        self.out.flush().map_err(|source| LayerError::Output { source })?;
        Ok(self.expected)
    }

    fn mismatch(&self, found: Digest) -> LayerError {
        LayerError::Mismatch {
            path: self.dir.to_owned(),
            expected: self.expected.diff_id,
            size: self.expected.tar_size,
            found,
            found_size: self.length,
        }
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map_err(|source| LayerError::Open { path: path.to_owned(), source: source.into() })
}

/// A recipe names no links. A fifo in a file's place must not block.
fn open_file(dir: &OwnedFd, path: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(dir, path, flags, Mode::empty(), resolve).map(File::from)
}
