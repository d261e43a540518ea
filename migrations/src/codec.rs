//! The one place that converts stored shapes to bytes and back, so that another encoder can replace it.
//!
//! Fixed-width little-endian integers, `u64` lengths, `u32` variant numbers. The encoding does not describe itself:
//! bytes of one shape may be readable as another. The kind and schema numbers beside the bytes identify the shape.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No encoded shape is larger: the journal takes no value of 4 KB.
pub const SIZE_LIMIT: u64 = 4096;

/// The bytes do not have this shape.
#[derive(Debug, thiserror::Error)]
#[error("the bytes do not have the expected shape")]
pub struct Malformed(#[source] bincode::Error);

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(SIZE_LIMIT).reject_trailing_bytes()
}

/// The bytes of a shape. The caller keeps its strings short: a result longer than `SIZE_LIMIT` is unreadable.
pub fn encode<T: Serialize>(shape: &T) -> Vec<u8> {
    options().with_no_limit().serialize(shape).expect("shapes consist of plain fields, which always serialize")
}

/// Reads one shape from exactly these bytes. Allocates no more than `SIZE_LIMIT`, whatever lengths the bytes contain.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    // The encoder's own limit does not count the lengths of strings.
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(Malformed(bincode::ErrorKind::SizeLimit.into()));
    }
    options().deserialize(bytes).map_err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_encoding_is_fixed_width_and_little_endian() {
        assert_eq!(encode(&(1u16, 2u32, true, "ab", Some(3u8))), b"\x01\0\x02\0\0\0\x01\x02\0\0\0\0\0\0\0ab\x01\x03");
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        assert_eq!(decode::<u16>(&[1, 0]).unwrap(), 1);
        assert!(decode::<u16>(&[1, 0, 0]).is_err());
        assert!(decode::<u16>(&[1]).is_err());
    }

    #[test]
    fn a_huge_length_is_refused_before_anything_is_allocated() {
        for length in [SIZE_LIMIT, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend([b'x'; 64]);
            assert!(decode::<String>(&bytes).is_err(), "{length}");
            assert!(decode::<Vec<u64>>(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn bytes_beyond_the_limit_cannot_be_read() {
        let long = "x".repeat(SIZE_LIMIT as usize - 8);
        assert_eq!(decode::<String>(&encode(&long)).unwrap(), long);
        assert!(decode::<String>(&encode(&format!("{long}x"))).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<(String, Option<u64>, Vec<u32>)>(&bytes);
        }
    }
}
