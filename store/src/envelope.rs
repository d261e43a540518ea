//! The envelope of every event: its stream, its position, a checksum, and the hash of the event before it.
//!
//! Encoded by hand so that it never changes by accident: these bytes outlive every library. All numbers little endian.
//!
//! ```text
//!  0 magic "EVNT"   4 format u8   5 flags u8   6 stream kind u8   7 stream id length u8
//!  8 seq u64       16 stream version u64      24 time u64        32 boot id [16]
//! 48 kind u16      50 schema u16              52 payload length u32
//! 56 hash of the record before [16]           72 stream id, payload, CRC32C of all before u32
//! ```

use crate::bytes::{self, Fields};
use crate::{Record, StreamId};
use sha2::{Digest, Sha256};

/// Hash of a whole encoded record: the first half of its SHA-256.
pub(crate) type Hash = [u8; 16];

/// The previous hash of the first record ever.
pub(crate) const GENESIS: Hash = [0; 16];

pub(crate) const MAGIC: [u8; 4] = *b"EVNT";
const FORMAT: u8 = 1;
const HEADER: usize = 72;
const ENDS_STREAM: u8 = 1;

/// A decoded record and its links in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linked {
    pub(crate) record: Record,
    /// The hash of the record before this one.
    pub(crate) previous: Hash,
    /// The hash of this record.
    pub(crate) hash: Hash,
}

/// The length of the encoding.
pub(crate) fn encoded_length(stream: &StreamId, payload: usize) -> usize {
    HEADER + stream.id().len() + payload + 4
}

/// Encodes a record that follows the one with the hash `previous`; returns the bytes and their hash.
pub(crate) fn encode(record: &Record, previous: &Hash) -> (Vec<u8>, Hash) {
    let id = record.stream.id();
    let mut out = Vec::with_capacity(encoded_length(&record.stream, record.payload.len()));
    out.extend_from_slice(&MAGIC);
    out.push(FORMAT);
    out.push(if record.ends_stream { ENDS_STREAM } else { 0 });
    out.push(record.stream.kind());
    out.push(u8::try_from(id.len()).expect("a stream id has at most 128 bytes"));
    out.extend_from_slice(&record.seq.to_le_bytes());
    out.extend_from_slice(&record.version.to_le_bytes());
    out.extend_from_slice(&record.at.to_le_bytes());
    out.extend_from_slice(&record.boot);
    out.extend_from_slice(&record.kind.to_le_bytes());
    out.extend_from_slice(&record.schema.to_le_bytes());
    out.extend_from_slice(&u32::try_from(record.payload.len()).expect("a payload is under 4 KB").to_le_bytes());
    out.extend_from_slice(previous);
    out.extend_from_slice(id);
    out.extend_from_slice(&record.payload);
    bytes::seal(&mut out);
    let hash = hash(&out);
    (out, hash)
}

/// Decodes exactly one record; `None` for any bytes that `encode` did not make.
pub(crate) fn decode(encoded: &[u8]) -> Option<Linked> {
    let mut fields = Fields(bytes::unseal(encoded)?);
    let (mut record, previous, payload) = header(&mut fields)?;
    record.payload = fields.take(payload)?.into();
    fields.0.is_empty().then(|| Linked { record, previous, hash: hash(encoded) })
}

/// Decodes the record at the start of `bytes`; any bytes may follow it. For salvage from raw pages.
pub(crate) fn decode_prefix(bytes: &[u8]) -> Option<Linked> {
    let mut fields = Fields(bytes);
    let (record, _, payload) = header(&mut fields)?;
    decode(bytes.get(..encoded_length(&record.stream, payload))?)
}

fn header(fields: &mut Fields<'_>) -> Option<(Record, Hash, usize)> {
    if fields.array()? != MAGIC || fields.u8()? != FORMAT {
        return None;
    }
    let flags = fields.u8()?;
    if flags & !ENDS_STREAM != 0 {
        return None;
    }
    let (stream_kind, id_length) = (fields.u8()?, fields.u8()?);
    let (seq, version, at, boot) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.array()?);
    let (kind, schema, payload) = (fields.u16()?, fields.u16()?, fields.u32()?);
    let previous = fields.array()?;
    let stream = StreamId::new(stream_kind, fields.take(usize::from(id_length))?).ok()?;
    let ends_stream = flags & ENDS_STREAM != 0;
    let record = Record { seq, stream, version, at, boot, kind, schema, ends_stream, payload: [].into() };
    Some((record, previous, usize::try_from(payload).ok()?))
}

fn hash(encoded: &[u8]) -> Hash {
    let digest = Sha256::digest(encoded);
    let mut hash = GENESIS;
    hash.copy_from_slice(&digest[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_record()(
            seq in any::<u64>(), version in any::<u64>(), at in any::<u64>(), boot in any::<[u8; 16]>(),
            stream_kind in any::<u8>(), id in prop::collection::vec(any::<u8>(), 1..=128),
            kind in any::<u16>(), schema in any::<u16>(), ends_stream in any::<bool>(),
            payload in prop::collection::vec(any::<u8>(), 0..600),
        ) -> Record {
            let stream = StreamId::new(stream_kind, &id).unwrap();
            Record { seq, stream, version, at, boot, kind, schema, ends_stream, payload: payload.into() }
        }
    }

    proptest! {
        #[test]
        fn an_encoded_record_is_decoded(record in any_record(), previous in any::<Hash>(), after in any::<Vec<u8>>()) {
            let (mut bytes, hash) = encode(&record, &previous);
            prop_assert_eq!(bytes.len(), encoded_length(&record.stream, record.payload.len()));
            let linked = Linked { record, previous, hash };
            prop_assert_eq!(decode(&bytes), Some(linked.clone()));
            bytes.extend(after);
            prop_assert_eq!(decode_prefix(&bytes), Some(linked));
        }

        #[test]
        fn any_changed_byte_is_detected(record in any_record(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let (mut bytes, _) = encode(&record, &GENESIS);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn any_cut_is_detected(record in any_record(), at in any::<prop::sample::Index>()) {
            let (bytes, _) = encode(&record, &GENESIS);
            prop_assert_eq!(decode(&bytes[..at.index(bytes.len())]), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let _ = decode_prefix(&bytes);
        }

        /// Arbitrary fields behind a valid magic and under a valid checksum exercise the parser itself.
        #[test]
        fn arbitrary_fields_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = [MAGIC.as_slice(), &[FORMAT, 0], &tail].concat();
            bytes::seal(&mut bytes);
            if let Some(linked) = decode(&bytes) {
                prop_assert_eq!(encode(&linked.record, &linked.previous).0, bytes);
            }
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let record = Record {
            seq: 0x0102,
            stream: StreamId::new(9, b"abc").unwrap(),
            version: 3,
            at: 4,
            boot: [5; 16],
            kind: 6,
            schema: 7,
            ends_stream: true,
            payload: b"xyz".as_slice().into(),
        };
        let (bytes, _) = encode(&record, &[8; 16]);
        let mut expected = b"EVNT\x01\x01\x09\x03\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0".to_vec();
        expected.extend([5; 16]);
        expected.extend(b"\x06\0\x07\0\x03\0\0\0");
        expected.extend([8; 16]);
        expected.extend(b"abcxyz");
        bytes::seal(&mut expected);
        assert_eq!(bytes, expected);
    }
}
