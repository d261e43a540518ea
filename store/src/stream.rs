//! The name of a stream: a kind byte and an identifier. The journal only orders and compares streams; the meaning of a
//! kind is the caller's.

use std::fmt;
use std::sync::Arc;

/// Longest identifier a stream may have, in bytes.
pub const MAX_ID: usize = 128;

/// Names one stream. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    kind: u8,
    id: Arc<[u8]>,
}

/// The identifier is too short or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream identifier has 1 to {MAX_ID} bytes, not {length}")]
pub struct BadStreamId {
    /// The number of bytes passed.
    pub length: usize,
}

impl StreamId {
    /// Names a stream. Fails unless `id` has between 1 and [`MAX_ID`] bytes.
    pub fn new(kind: u8, id: &[u8]) -> Result<Self, BadStreamId> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(BadStreamId { length: id.len() });
        }
        Ok(Self { kind, id: id.into() })
    }

    /// The kind byte.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The identifier within its kind.
    pub fn id(&self) -> &[u8] {
        &self.id
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id.escape_ascii())
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_between_one_and_128_bytes() {
        assert_eq!(StreamId::new(1, b""), Err(BadStreamId { length: 0 }));
        assert!(StreamId::new(1, &[7; 128]).is_ok());
        assert_eq!(StreamId::new(1, &[7; 129]), Err(BadStreamId { length: 129 }));
    }

    #[test]
    fn unprintable_bytes_are_escaped() {
        assert_eq!(StreamId::new(3, b"a\n\xff").unwrap().to_string(), r"3/a\n\xff");
    }
}
