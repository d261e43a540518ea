//! Turns accepted appends into one set of changes: numbers, links in the chain, rows.

use super::Living;
use crate::backend::Changes;
use crate::envelope::{self, Hash};
use crate::record::OnDurable;
use crate::saved::{self, Head};
use crate::{Append, AppendError, Record, Row, SavedRow, Seq, StreamId, VALUE_LIMIT, keys};
use std::collections::HashMap;

pub(crate) struct Batch {
    pub(crate) changes: Changes,
    pub(crate) last: Seq,
    pub(crate) hash: Hash,
    boot: [u8; 16],
}

/// An append that is part of the batch.
pub(crate) struct Staged {
    pub(crate) records: Vec<Record>,
    pub(crate) on_durable: Option<OnDurable>,
}

impl Batch {
    pub(crate) fn new(last: Seq, hash: Hash, boot: [u8; 16]) -> Self {
        Self { changes: Changes::default(), last, hash, boot }
    }

    /// Adds an append, or refuses it and leaves everything as it was. `streams` is ahead of the disk until the batch
    /// is committed; a batch that fails is the last one, so nothing is ever taken back.
    pub(crate) fn stage(
        &mut self,
        append: Append,
        streams: &mut HashMap<StreamId, Living>,
    ) -> Result<Staged, AppendError> {
        let known = streams.get(&append.stream).copied();
        let living = known.unwrap_or_default();
        if append.expected != living.version {
            let Append { stream, expected, .. } = append;
            return Err(AppendError::Conflict { stream, expected, found: living.version });
        }
        fits(&append)?;
        if append.row == Row::Delete && append.events.is_empty() {
            return Err(AppendError::EndWithoutEvent { stream: append.stream });
        }
        let records = self.events(&append, living.version);
        let version = living.version + records.len() as u64;
        let now = self.row(&append, living, version, known.is_some());
        match now {
            Some(now) => streams.insert(append.stream, now),
            None => streams.remove(&append.stream),
        };
        Ok(Staged { records, on_durable: append.on_durable })
    }

    fn events(&mut self, append: &Append, version: u64) -> Vec<Record> {
        let ends = append.row == Row::Delete;
        let count = append.events.len();
        let mut records = Vec::with_capacity(count);
        for (index, event) in append.events.iter().enumerate() {
            let record = Record {
                seq: self.last + 1,
                stream: append.stream.clone(),
                version: version + 1 + index as u64,
                at: append.at,
                boot: self.boot,
                kind: event.kind,
                schema: event.schema,
                ends_stream: ends && index + 1 == count,
                payload: event.payload.as_slice().into(),
            };
            let (encoded, hash) = envelope::encode(&record, &self.hash);
            self.changes.put(keys::event(record.seq), encoded);
            (self.last, self.hash) = (record.seq, hash);
            records.push(record);
        }
        records
    }

    fn row(&mut self, append: &Append, living: Living, version: u64, known: bool) -> Option<Living> {
        let stream = &append.stream;
        match &append.row {
            Row::Put { schema, bytes } => {
                let row =
                    SavedRow { stream: stream.clone(), version, seq: self.last, schema: *schema, bytes: bytes.clone() };
                self.changes.put(keys::row(stream), saved::encode_row(&row));
                if living.behind {
                    self.changes.delete(keys::head(stream));
                }
                Some(Living { version, row: Some(self.last), behind: false })
            }
            Row::Keep if version == living.version => known.then_some(living),
            Row::Keep => {
                self.changes.put(keys::head(stream), saved::encode_head(Head { version, seq: self.last }));
                Some(Living { version, row: living.row, behind: true })
            }
            Row::Delete => {
                self.changes.delete(keys::row(stream));
                if living.behind {
                    self.changes.delete(keys::head(stream));
                }
                None
            }
        }
    }
}

fn fits(append: &Append) -> Result<(), AppendError> {
    let events = append.events.iter().map(|event| envelope::encoded_length(&append.stream, event.payload.len()));
    let row = match &append.row {
        Row::Put { bytes, .. } => saved::row_length(&append.stream, bytes.len()),
        Row::Keep | Row::Delete => 0,
    };
    match events.chain([row]).find(|size| *size >= VALUE_LIMIT) {
        Some(size) => Err(AppendError::TooLarge { stream: append.stream.clone(), size, limit: VALUE_LIMIT }),
        None => Ok(()),
    }
}
