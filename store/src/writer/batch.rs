//! Turns accepted appends into one set of changes: numbers, links of the hash chain, rows.

use super::StreamState;
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

    /// Adds an append, or rejects it and leaves the batch as it was. `streams` is ahead of the disk until the batch is
    /// committed; the writer stops after a batch that fails, so nothing is ever undone.
    pub(crate) fn stage(
        &mut self,
        append: Append,
        streams: &mut HashMap<StreamId, StreamState>,
    ) -> Result<Staged, AppendError> {
        let known = streams.get(&append.stream).copied();
        let state = known.unwrap_or_default();
        if append.expected != state.version {
            let Append { stream, expected, .. } = append;
            return Err(AppendError::Conflict { stream, expected, found: state.version });
        }
        fits(&append)?;
        if append.row == Row::Delete && append.events.is_empty() {
            return Err(AppendError::EndWithoutEvent { stream: append.stream });
        }
        let records = self.events(&append, state.version);
        let version = state.version + records.len() as u64;
        let now = self.row(&append, state, version, known.is_some());
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

    fn row(&mut self, append: &Append, state: StreamState, version: u64, known: bool) -> Option<StreamState> {
        let stream = &append.stream;
        match &append.row {
            Row::Put { schema, bytes } => {
                let row =
                    SavedRow { stream: stream.clone(), version, seq: self.last, schema: *schema, bytes: bytes.clone() };
                self.changes.put(keys::row(stream), saved::encode_row(&row));
                if state.behind {
                    self.changes.delete(keys::head(stream));
                }
                Some(StreamState { version, row: Some(self.last), behind: false })
            }
            Row::Keep if version == state.version => known.then_some(state),
            Row::Keep => {
                self.changes.put(keys::head(stream), saved::encode_head(Head { version, seq: self.last }));
                Some(StreamState { version, row: state.row, behind: true })
            }
            Row::Delete => {
                self.changes.delete(keys::row(stream));
                if state.behind {
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
