//! The keys of the one tree. Batches are atomic only within a tree, so all entries are in this one; the first byte of
//! a key is its type.

use crate::{Seq, StreamId};

const EVENT: u8 = b'e';
const GAP: u8 = b'g';
const HEAD: u8 = b'h';
const META: u8 = b'm';
const ROW: u8 = b's';

/// The key of the journal's head.
pub(crate) const JOURNAL_HEAD: &[u8] = &[META];

/// Bounds of all events.
pub(crate) const EVENTS: (&[u8], &[u8]) = (&[EVENT], &[EVENT + 1]);
/// Bounds of all gaps.
pub(crate) const GAPS: (&[u8], &[u8]) = (&[GAP], &[GAP + 1]);
/// Bounds of all stream heads.
pub(crate) const HEADS: (&[u8], &[u8]) = (&[HEAD], &[HEAD + 1]);
/// Bounds of all savepoint rows.
pub(crate) const ROWS: (&[u8], &[u8]) = (&[ROW], &[ROW + 1]);

pub(crate) fn event(seq: Seq) -> Vec<u8> {
    numbered(EVENT, seq)
}

pub(crate) fn gap(first: Seq) -> Vec<u8> {
    numbered(GAP, first)
}

/// The sequence number in the key of an event or gap.
pub(crate) fn seq(key: &[u8]) -> Option<Seq> {
    let (_, number) = key.split_first()?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

pub(crate) fn row(stream: &StreamId) -> Vec<u8> {
    named(ROW, stream)
}

pub(crate) fn head(stream: &StreamId) -> Vec<u8> {
    named(HEAD, stream)
}

/// The stream in the key of a row or head.
pub(crate) fn stream(key: &[u8]) -> Option<StreamId> {
    let (&kind, id) = key.get(1..)?.split_first()?;
    StreamId::new(kind, id).ok()
}

// Big endian, so that the order of the keys is the order of the numbers.
fn numbered(prefix: u8, seq: Seq) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(prefix);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

fn named(prefix: u8, stream: &StreamId) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + stream.id().len());
    key.extend_from_slice(&[prefix, stream.kind()]);
    key.extend_from_slice(stream.id());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_decode_to_their_parts() {
        let name = StreamId::new(7, b"abc").unwrap();
        assert_eq!(stream(&row(&name)), Some(name.clone()));
        assert_eq!(stream(&head(&name)), Some(name));
        assert_eq!(seq(&event(258)), Some(258));
        assert!(event(255) < event(256) && event(u64::MAX).as_slice() < EVENTS.1);
    }
}
