//! The encoding of state saved beside the events: savepoint rows, stream heads, and the journal's own head.

use crate::bytes::{self, Fields};
use crate::envelope::Hash;
use crate::{SavedRow, Seq, StreamId};

pub(crate) const ROW_MAGIC: [u8; 4] = *b"SROW";
const HEAD_MAGIC: [u8; 4] = *b"HEAD";
const META_MAGIC: [u8; 4] = *b"LAST";
const FORMAT: u8 = 1;
const ROW_HEADER: usize = 4 + 1 + 1 + 1 + 8 + 8 + 2 + 4;

/// The length of a row's encoding.
pub(crate) fn row_length(stream: &StreamId, bytes: usize) -> usize {
    ROW_HEADER + stream.id().len() + bytes + 4
}

/// Encodes a savepoint row. The encoding includes the stream, so that the row can be salvaged without its key.
pub(crate) fn encode_row(row: &SavedRow) -> Vec<u8> {
    let id = row.stream.id();
    let mut out = Vec::with_capacity(row_length(&row.stream, row.bytes.len()));
    out.extend_from_slice(&ROW_MAGIC);
    out.extend_from_slice(&[FORMAT, row.stream.kind()]);
    out.push(u8::try_from(id.len()).expect("a stream id has at most 128 bytes"));
    out.extend_from_slice(&row.version.to_le_bytes());
    out.extend_from_slice(&row.seq.to_le_bytes());
    out.extend_from_slice(&row.schema.to_le_bytes());
    out.extend_from_slice(&u32::try_from(row.bytes.len()).expect("a row is under 4 KB").to_le_bytes());
    out.extend_from_slice(id);
    out.extend_from_slice(&row.bytes);
    bytes::seal(&mut out);
    out
}

/// Decodes exactly one row; `None` for any bytes that `encode_row` did not make.
pub(crate) fn decode_row(encoded: &[u8]) -> Option<SavedRow> {
    let mut fields = Fields(bytes::unseal(encoded)?);
    let (mut row, length) = row_header(&mut fields)?;
    row.bytes = fields.take(length)?.to_vec();
    fields.0.is_empty().then_some(row)
}

/// Decodes the row at the start of `bytes`; any bytes may follow it. For salvage from raw pages.
pub(crate) fn decode_row_prefix(bytes: &[u8]) -> Option<SavedRow> {
    let (row, length) = row_header(&mut Fields(bytes))?;
    decode_row(bytes.get(..row_length(&row.stream, length))?)
}

fn row_header(fields: &mut Fields<'_>) -> Option<(SavedRow, usize)> {
    if fields.array()? != ROW_MAGIC || fields.u8()? != FORMAT {
        return None;
    }
    let (kind, id_length) = (fields.u8()?, fields.u8()?);
    let (version, seq, schema, length) = (fields.u64()?, fields.u64()?, fields.u16()?, fields.u32()?);
    let stream = StreamId::new(kind, fields.take(usize::from(id_length))?).ok()?;
    Some((SavedRow { stream, version, seq, schema, bytes: Vec::new() }, usize::try_from(length).ok()?))
}

/// The position of a stream with a row behind its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: u64,
    pub(crate) seq: Seq,
}

pub(crate) fn encode_head(head: Head) -> Vec<u8> {
    let mut out = HEAD_MAGIC.to_vec();
    out.extend_from_slice(&head.version.to_le_bytes());
    out.extend_from_slice(&head.seq.to_le_bytes());
    bytes::seal(&mut out);
    out
}

pub(crate) fn decode_head(encoded: &[u8]) -> Option<Head> {
    let mut fields = Fields(bytes::unseal(encoded)?);
    if fields.array()? != HEAD_MAGIC {
        return None;
    }
    let head = Head { version: fields.u64()?, seq: fields.u64()? };
    fields.0.is_empty().then_some(head)
}

/// The journal's last event, and the generation of its payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) format: u16,
    pub(crate) last: Seq,
    pub(crate) hash: Hash,
}

pub(crate) fn encode_meta(meta: Meta) -> Vec<u8> {
    let mut out = META_MAGIC.to_vec();
    out.extend_from_slice(&meta.format.to_le_bytes());
    out.extend_from_slice(&meta.last.to_le_bytes());
    out.extend_from_slice(&meta.hash);
    bytes::seal(&mut out);
    out
}

pub(crate) fn decode_meta(encoded: &[u8]) -> Option<Meta> {
    let mut fields = Fields(bytes::unseal(encoded)?);
    if fields.array()? != META_MAGIC {
        return None;
    }
    let meta = Meta { format: fields.u16()?, last: fields.u64()?, hash: fields.array()? };
    fields.0.is_empty().then_some(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_round_trip(
            kind in any::<u8>(), id in prop::collection::vec(any::<u8>(), 1..=128), version in any::<u64>(),
            seq in any::<u64>(), schema in any::<u16>(), bytes in prop::collection::vec(any::<u8>(), 0..600),
            flip in 1u8.., at in any::<prop::sample::Index>(),
        ) {
            let row = SavedRow { stream: StreamId::new(kind, &id).unwrap(), version, seq, schema, bytes };
            let mut encoded = encode_row(&row);
            prop_assert_eq!(encoded.len(), row_length(&row.stream, row.bytes.len()));
            prop_assert_eq!(decode_row(&encoded), Some(row.clone()));
            prop_assert_eq!(decode_row_prefix(&[encoded.as_slice(), b"more"].concat()), Some(row));
            let at = at.index(encoded.len());
            encoded[at] ^= flip;
            prop_assert_eq!(decode_row(&encoded), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0..4) {
            let magic: &[u8] = [b"SROW\x01".as_slice(), b"HEAD", b"LAST", b""][magic as usize];
            bytes.splice(..0, magic.iter().copied());
            bytes::seal(&mut bytes);
            let _ = (decode_row(&bytes), decode_row_prefix(&bytes), decode_head(&bytes), decode_meta(&bytes));
        }
    }

    #[test]
    fn heads_and_meta_round_trip() {
        let head = Head { version: 7, seq: 9 };
        assert_eq!(decode_head(&encode_head(head)), Some(head));
        let meta = Meta { format: 3, last: 12, hash: [4; 16] };
        assert_eq!(decode_meta(&encode_meta(meta)), Some(meta));
        assert_eq!(decode_head(&encode_meta(meta)), None);
    }
}
