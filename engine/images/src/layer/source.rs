//! The source of a layer: counted and hashed as it is read.

use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

use engine_domain::id::Digest;

const BUFFER: usize = 128 << 10;

pub struct Source<'a> {
    inner: Box<dyn Read + 'a>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    hash: Sha256,
    count: u64,
    failed: bool,
}

impl<'a> Source<'a> {
    pub fn new(inner: impl Read + 'a) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { inner: Box::new(inner), buffer, start: 0, end: 0, hash: Sha256::new(), count: 0, failed: false }
    }

    /// The first bytes, as many as wanted if there are so many. They are still there to be read.
    pub fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.read_more()? == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// How many bytes have come until now.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether reading has failed: then an error is not the decompression's.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Digest and length of the bytes read.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.hash.finalize().into()), self.count)
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let read = loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        };
        self.hash.update(&self.buffer[self.end..self.end + read]);
        self.count += read as u64;
        self.end += read;
        Ok(read)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = self.end.min(self.start + amount);
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
