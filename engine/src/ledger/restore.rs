//! Restores the projection from the store: savepoint rows first, then the tail of the journal. Unreadable rows and
//! events are warned of and never mean that an aggregate is gone.

use store::{Record, SavedRow, StreamId};

use super::{Ledger, Recorded};
use crate::cause::chain;
use crate::journal::record::DecodeError;

/// A ledger of any kind, before any turn.
pub(crate) trait Restorable {
    /// The kind's name in log lines.
    fn noun(&self) -> &'static str;

    /// Whether its aggregates have streams of this kind.
    fn has(&self, stream: &StreamId) -> bool;

    /// Adds the state of a row to the projection.
    fn restore_row(&self, row: &SavedRow) -> Result<(), DecodeError>;

    /// Applies the events of a stream with a row older than its last event; `last` is that event's version. Missing and
    /// unreadable ones are warned of.
    fn replay(&self, stream: &StreamId, last: u64);
}

impl<A: Recorded> Restorable for Ledger<A> {
    fn noun(&self) -> &'static str {
        A::NOUN
    }

    fn has(&self, stream: &StreamId) -> bool {
        stream.kind() == A::STREAM
    }

    fn restore_row(&self, row: &SavedRow) -> Result<(), DecodeError> {
        self.restore(A::decode_row(row)?, row.seq);
        Ok(())
    }

    fn replay(&self, stream: &StreamId, last: u64) {
        let Some(id) = A::id_of(stream) else { return };
        let warn = |message| self.0.warnings.add(message);
        let known = self.get(&id);
        let (mut state, mut seq) = known.map_or((None, 0), |entry| (Some(entry.state.clone()), entry.seq));
        let rest = self.read_stream(stream, seq + 1);
        // Versions follow each other, up to the one that the store counted.
        let whole = |rest: &[Record]| {
            rest.windows(2).all(|pair| pair[0].version + 1 == pair[1].version)
                && rest.last().is_some_and(|record| record.version == last)
        };
        match &rest {
            Some(rest) if whole(rest) => {}
            Some(_) => {
                warn(format!("events of `{stream}` are lost; its state may be old, and is compared with the world"));
            }
            None => warn(format!("the events of `{stream}` cannot be read; its state may be old")),
        }
        for record in rest.unwrap_or_default() {
            match A::decode(&record) {
                Ok((_, event)) => state = A::evolve(state, &event),
                Err(error) => warn(format!("an event cannot be used: {}", chain(&error))),
            }
            // Counts an unusable event too, because the store does.
            if let Some(state) = &mut state {
                state.set_version(record.version);
            }
            seq = record.seq;
        }
        match state {
            Some(mut state) => {
                // The store counts lost events too, and later turns are appended to its count.
                state.set_version(state.version().max(last));
                self.restore(state, seq);
            }
            None => self.forget(&id),
        }
    }
}

impl<A: Recorded> Ledger<A> {
    fn read_stream(&self, stream: &StreamId, from: u64) -> Option<Vec<Record>> {
        const CHUNK: usize = 1024;
        let mut found = Vec::new();
        let mut next = from.max(self.0.journal.first());
        loop {
            let records = self.0.journal.read(next, CHUNK).ok()?;
            let Some(last) = records.last() else { return Some(found) };
            next = last.seq + 1;
            found.extend(records.into_iter().filter(|record| record.stream == *stream));
        }
    }
}
