//! Files with holes: which pieces are in the archive, and where they belong. GNU tar has written this in four ways.

use tar::{GnuHeader, GnuSparseHeader};

use super::Problem;
use super::header::number;
use super::pax::digits;

/// The pieces of a file that are in the archive, one after the other, and how long the file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Offset in the file and length, in order and apart from each other.
    pub pieces: Vec<(u64, u64)>,
    pub size: u64,
}

impl Map {
    /// Whether the pieces fit a file of this size and a payload of that.
    pub fn check(self, payload: u64) -> Result<Self, Problem> {
        let (mut end, mut sum) = (0, 0_u64);
        for (offset, length) in &self.pieces {
            if *offset < end {
                return Err(Problem::Sparse);
            }
            end = offset.checked_add(*length).filter(|end| *end <= self.size).ok_or(Problem::Sparse)?;
            sum += length;
        }
        let fits = sum == payload && i64::try_from(self.size).is_ok();
        fits.then_some(self).ok_or(Problem::Sparse)
    }

    /// Takes over the map of an old GNU header, or of a block that continues one.
    pub fn add(&mut self, pieces: &[GnuSparseHeader]) -> Result<(), Problem> {
        for piece in pieces.iter().take_while(|piece| piece.offset[0] != 0 && piece.numbytes[0] != 0) {
            let field = |field| number(field).and_then(|number| u64::try_from(number).ok()).ok_or(Problem::Sparse);
            self.pieces.push((field(&piece.offset)?, field(&piece.numbytes)?));
        }
        Ok(())
    }

    pub fn of_header(header: &GnuHeader) -> Result<Self, Problem> {
        let size = number(&header.realsize).and_then(|size| u64::try_from(size).ok()).ok_or(Problem::Sparse)?;
        let mut map = Self { pieces: Vec::new(), size };
        map.add(&header.sparse)?;
        Ok(map)
    }
}

/// The description of holes in extended headers.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub name: Option<Vec<u8>>,
    pub size: Option<u64>,
    /// Format 1.0: the map is in front of the payload.
    map_in_payload: bool,
    is_sparse: bool,
    numbers: Vec<u64>,
}

/// The place of a sparse file's map.
#[derive(Debug)]
pub(super) enum Where {
    /// The file has no holes.
    Nowhere,
    Here(Map),
    /// The map is in front of the payload; the file has this size.
    Payload(u64),
}

impl Described {
    /// Takes a record of an extended header with the key `GNU.sparse.<key>`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        let number = || digits(value).ok_or(Problem::Sparse);
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"major" => (self.is_sparse, self.map_in_payload) = (true, number()? == 1),
            b"minor" if number()? != 0 && self.map_in_payload => return Err(Problem::Sparse),
            b"numblocks" => self.is_sparse = true,
            b"offset" | b"numbytes" => {
                // Format 0.0 has a record for each number, and they come in turn.
                if self.numbers.len() % 2 != usize::from(key == b"numbytes") {
                    return Err(Problem::Sparse);
                }
                self.numbers.push(number()?);
            }
            b"map" => {
                self.is_sparse = true;
                self.numbers.clear();
                for number in value.split(|byte| *byte == b',').filter(|_| !value.is_empty()) {
                    self.numbers.push(digits(number).ok_or(Problem::Sparse)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn map(self) -> Result<Where, Problem> {
        match (self.is_sparse, self.size) {
            (false, _) => Ok(Where::Nowhere),
            (true, None) => Err(Problem::Sparse),
            (true, Some(size)) if self.map_in_payload => Ok(Where::Payload(size)),
            (true, Some(size)) => Ok(Where::Here(Map { pieces: pairs(&self.numbers)?, size })),
        }
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>, Problem> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[offset, length]| (*offset, *length)).collect())
    } else {
        Err(Problem::Sparse)
    }
}

/// How many lines the map in front of a payload has: the first has the number of pieces, and each has two. None if
/// that line is not there yet.
pub(super) fn leading_lines(bytes: &[u8]) -> Result<Option<u64>, Problem> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let pieces = digits(&bytes[..end]).and_then(|count| count.checked_mul(2)?.checked_add(1));
    pieces.map(Some).ok_or(Problem::Sparse)
}

/// The map in front of a payload, once all its lines are there.
pub(super) fn leading(bytes: &[u8], lines: u64, size: u64) -> Result<Map, Problem> {
    let lines = usize::try_from(lines).map_err(|_| Problem::Sparse)?;
    let numbers = bytes.split(|byte| *byte == b'\n').take(lines).skip(1);
    let numbers: Vec<u64> = numbers.map(|line| digits(line).ok_or(Problem::Sparse)).collect::<Result<_, _>>()?;
    Ok(Map { pieces: pairs(&numbers)?, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_have_to_fit() {
        let check = |pieces: &[(u64, u64)], size, payload| Map { pieces: pieces.to_vec(), size }.check(payload).is_ok();
        assert!(check(&[], 0, 0));
        assert!(check(&[(0, 5), (10, 5)], 20, 10));
        assert!(check(&[(20, 0)], 20, 0));
        for (pieces, size, payload) in [
            (&[(10, 5), (0, 5)][..], 20, 10),
            (&[(0, 5), (4, 5)], 20, 10),
            (&[(16, 5)], 20, 5),
            (&[(0, 5)], 20, 6),
            (&[(u64::MAX, 5)], 20, 5),
            (&[], u64::MAX, 0),
        ] {
            assert!(!check(pieces, size, payload), "{pieces:?}");
        }
    }

    #[test]
    fn a_leading_map_is_a_number_a_line() {
        assert_eq!(leading_lines(b"").unwrap(), None);
        assert_eq!(leading_lines(b"1").unwrap(), None);
        assert_eq!(leading_lines(b"2\n0").unwrap(), Some(5));
        assert_eq!(leading(b"1\n0\n1\n\0\0", 3, 9).unwrap(), Map { pieces: vec![(0, 1)], size: 9 });
        assert!(leading(b"1\n0\nx\n", 3, 9).is_err());
        for count in ["x\n", "\n", "99999999999999999999\n", "18446744073709551615\n"] {
            assert!(leading_lines(count.as_bytes()).is_err(), "{count}");
        }
    }
}
