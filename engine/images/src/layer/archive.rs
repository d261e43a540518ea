//! The entries of a layer's archive, one after the other. All bytes but the contents of files go into the recipe as
//! they pass.
//!
//! The `tar` crate locates the fields of a header. It does not do the reading: its extended headers end at the first
//! line feed in a value, and capabilities are such values; and it reads them into memory however long they are.

use tar::{GnuExtSparseHeader, Header};

use super::error::shown;
use super::header::{self, Before, Entry, Kind};
use super::recipe::Writer;
use super::sparse::{self, Map};
use super::stream::Stream;
use super::{LayerError, Problem};

const BLOCK: usize = 512;
/// Bytes that may describe one entry. Attributes of a file are 64 KiB at most, and names a page.
const LONGEST_DESCRIPTION: u64 = 1 << 20;

pub struct Archive<'a> {
    stream: Stream<'a>,
    pub recipe: Writer,
    /// Bytes of the current entry's payload that have not been taken yet, and of its padding.
    payload: u64,
    padding: u64,
    /// For errors: the entry that was read last.
    within: String,
}

impl<'a> Archive<'a> {
    pub fn new(stream: Stream<'a>, recipe: Writer) -> Self {
        Self { stream, recipe, payload: 0, padding: 0, within: String::new() }
    }

    /// The next entry; the rest of the previous one is passed over. None after the last.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        self.stream.check_stop()?;
        let mut before = Before::default();
        let mut described = 0;
        loop {
            self.leave()?;
            let Some(header) = self.header(!before.is_empty())? else { return Ok(None) };
            let kind = header.as_old().linkflag[0];
            let description = matches!(kind, b'L' | b'K' | b'x' | b'g');
            if !description {
                return self.entry(&header, before, described).map(Some);
            }
            let Some(size) = header::payload_size(&header) else {
                return Err(self.header_problem("the length of a description is no number"));
            };
            described = size.saturating_add(described + BLOCK as u64);
            let name = header::header_name(&header);
            if described > LONGEST_DESCRIPTION {
                return Err(LayerError::entry(&name, Problem::LongHeader { limit: LONGEST_DESCRIPTION }));
            }
            self.set_payload(size);
            self.within = shown(&name);
            let slot = match kind {
                b'L' => &mut before.name,
                b'K' => &mut before.link,
                b'x' => &mut before.extended,
                // A header of the whole archive: the commit it was made from, and the like.
                _ => continue,
            };
            if slot.is_some() {
                return Err(LayerError::entry(&name, Problem::Twice));
            }
            let mut bytes = Vec::new();
            self.pass(size, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            *slot = Some(if kind == b'x' { bytes } else { header::until_zero(&bytes).to_vec() });
        }
    }

    /// Takes the payload of the current entry: the content of a file. The caller records in the recipe where it has
    /// gone.
    pub fn content(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), LayerError>) -> Result<(), LayerError> {
        while self.payload > 0 {
            let bytes = self.stream.fill()?;
            if bytes.is_empty() {
                return Err(self.ends());
            }
            let length = (bytes.len() as u64).min(self.payload) as usize;
            sink(&bytes[..length])?;
            self.stream.consume(length);
            self.payload -= length as u64;
        }
        Ok(())
    }

    /// Shows the next bytes of the current entry's payload; they go into the recipe.
    pub fn pass(
        &mut self,
        length: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        debug_assert!(length <= self.payload);
        self.payload -= length;
        self.record(length, sink)
    }

    /// The map of a file with holes, if that is in front of its payload.
    pub fn leading_map(&mut self, entry: &Entry, size: u64) -> Result<Map, LayerError> {
        let problem = |problem| LayerError::entry(&entry.name, problem);
        let mut bytes = Vec::new();
        let mut lines = 0;
        loop {
            let wanted = sparse::leading_lines(&bytes).map_err(problem)?;
            if let Some(wanted) = wanted.filter(|wanted| *wanted <= lines) {
                let map = sparse::leading(&bytes, wanted, size).and_then(|map| map.check(self.payload));
                return map.map_err(problem);
            }
            if bytes.len() as u64 > LONGEST_DESCRIPTION {
                return Err(problem(Problem::LongHeader { limit: LONGEST_DESCRIPTION }));
            }
            if self.payload < BLOCK as u64 {
                return Err(problem(Problem::Sparse));
            }
            self.pass(BLOCK as u64, &mut |piece| {
                lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
        }
    }

    /// To be called after the last entry: takes the rest, which is padding.
    pub fn finish(mut self) -> Result<(Stream<'a>, Writer), LayerError> {
        loop {
            let bytes = self.stream.fill()?;
            if bytes.is_empty() {
                return Ok((self.stream, self.recipe));
            }
            self.recipe.bytes(bytes)?;
            let length = bytes.len();
            self.stream.consume(length);
        }
    }

    fn entry(&mut self, header: &Header, before: Before, described: u64) -> Result<Entry, LayerError> {
        let entry = header::entry(header, before);
        let mut entry = entry.map_err(|(name, problem)| LayerError::entry(&name, problem))?;
        self.within = shown(&entry.name);
        if let (Kind::SparseFile(map), Some(gnu)) = (&mut entry.kind, header.as_gnu())
            && header.as_old().linkflag[0] == b'S'
        {
            let mut goes_on = gnu.is_extended();
            let mut length = described;
            while goes_on {
                let mut block = GnuExtSparseHeader::new();
                self.block(block.as_mut_bytes())?;
                length += BLOCK as u64;
                if length > LONGEST_DESCRIPTION {
                    let problem = Problem::LongHeader { limit: LONGEST_DESCRIPTION };
                    return Err(LayerError::entry(&entry.name, problem));
                }
                map.add(&block.sparse).map_err(|problem| LayerError::entry(&entry.name, problem))?;
                goes_on = block.is_extended();
            }
        }
        if let Kind::SparseFile(map) = entry.kind {
            let map = map.check(entry.size).map_err(|problem| LayerError::entry(&entry.name, problem))?;
            entry.kind = Kind::SparseFile(map);
        }
        self.set_payload(entry.size);
        Ok(entry)
    }

    /// The next header; none at the end of the archive, which is two blocks of zeros, or the end of everything.
    fn header(&mut self, is_described: bool) -> Result<Option<Header>, LayerError> {
        let is_first = self.stream.position() == 0;
        let mut header = Header::new_old();
        if self.stream.fill()?.is_empty() {
            return match is_described {
                true => Err(self.ends()),
                false => Ok(None),
            };
        }
        match self.block(header.as_mut_bytes()) {
            Err(LayerError::Ends { .. }) if is_first => return Err(LayerError::NotAnArchive),
            other => other?,
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            if is_described {
                return Err(self.header_problem("it ends where an entry is described"));
            }
            let mut second = [0; BLOCK];
            if !self.stream.fill()?.is_empty() {
                self.block(&mut second)?;
            }
            return match second.iter().all(|byte| *byte == 0) {
                true => Ok(None),
                false => Err(self.header_problem("there is something after its end")),
            };
        }
        match header::sum_is_right(&header) {
            true => Ok(Some(header)),
            false if is_first => Err(LayerError::NotAnArchive),
            false => Err(self.header_problem("the checksum of a header is wrong")),
        }
    }

    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), LayerError> {
        let mut filled = 0;
        self.record(BLOCK as u64, &mut |piece| {
            block[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
            Ok(())
        })
    }

    fn set_payload(&mut self, size: u64) {
        self.payload = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn leave(&mut self) -> Result<(), LayerError> {
        let payload = std::mem::take(&mut self.payload);
        self.record(payload, &mut |_| Ok(()))?;
        let padding = std::mem::take(&mut self.padding);
        self.record(padding, &mut |_| Ok(()))
    }

    fn record(
        &mut self,
        mut length: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        while length > 0 {
            let bytes = self.stream.fill()?;
            if bytes.is_empty() {
                return Err(self.ends());
            }
            let piece = &bytes[..(bytes.len() as u64).min(length) as usize];
            self.recipe.bytes(piece)?;
            sink(piece)?;
            let taken = piece.len();
            self.stream.consume(taken);
            length -= taken as u64;
        }
        Ok(())
    }

    fn ends(&self) -> LayerError {
        let within = match self.within.as_str() {
            "" => "its first header".to_owned(),
            name => format!("`{name}` or what follows it"),
        };
        LayerError::Ends { within }
    }

    fn header_problem(&self, problem: &'static str) -> LayerError {
        LayerError::Header { position: self.stream.position(), problem }
    }
}
