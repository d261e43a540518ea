//! A layer's tar as a stream of bytes: decompressed, hashed, and held to its limits.

use sha2::{Digest as _, Sha256};

use super::decoder::Decoder;
use super::source::Source;
use super::{LayerError, Limits};
use engine_domain::id::Digest;

const BUFFER: usize = 256 << 10;

pub struct Stream<'a> {
    decoder: Decoder<'a>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// None if nothing is compressed: the source's hash is the same.
    hash: Option<Sha256>,
    count: u64,
    limits: &'a Limits,
    stop: &'a dyn Fn() -> bool,
}

/// Digest and length of both sides of the decompression.
pub struct Sums {
    pub tar: (Digest, u64),
    pub source: (Digest, u64),
}

impl<'a> Stream<'a> {
    pub fn new(source: Source<'a>, limits: &'a Limits, stop: &'a dyn Fn() -> bool) -> Result<Self, LayerError> {
        let decoder = Decoder::new(source)?;
        let hash = (!decoder.is_plain()).then(Sha256::new);
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Ok(Self { decoder, buffer, start: 0, end: 0, hash, count: 0, limits, stop })
    }

    /// The bytes that come next, without taking them; none at the end.
    pub fn fill(&mut self) -> Result<&[u8], LayerError> {
        if self.start == self.end {
            self.check_stop()?;
            let read = self.decoder.read(&mut self.buffer)?;
            (self.start, self.end) = (0, read);
            self.count += read as u64;
            if let Some(hash) = &mut self.hash {
                hash.update(&self.buffer[..read]);
            }
            self.check_limits()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    pub fn consume(&mut self, amount: usize) {
        self.start += amount;
        debug_assert!(self.start <= self.end);
    }

    /// How many bytes have been taken.
    pub fn position(&self) -> u64 {
        self.count - (self.end - self.start) as u64
    }

    pub fn check_stop(&self) -> Result<(), LayerError> {
        if (self.stop)() { Err(LayerError::Stopped) } else { Ok(()) }
    }

    /// To be called at the end.
    pub fn finish(self) -> Sums {
        let source = self.decoder.into_source().finish();
        let tar = self.hash.map_or(source, |hash| (Digest(hash.finalize().into()), self.count));
        Sums { tar, source }
    }

    fn check_limits(&self) -> Result<(), LayerError> {
        let Limits { bytes, ratio, ratio_floor, entries: _ } = *self.limits;
        if self.count > bytes {
            return Err(LayerError::TooLarge { limit: bytes });
        }
        if self.count > ratio_floor && self.count > self.decoder.source().count().saturating_mul(ratio) {
            return Err(LayerError::Bomb { ratio });
        }
        Ok(())
    }
}
