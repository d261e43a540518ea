//! Reads the whole journal and checks its consistency.

use crate::envelope::{self, Hash, Linked};
use crate::saved::{self, Meta};
use crate::shared::Shared;
use crate::{ReadError, Seq, StreamId, keys};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic;

/// The result of a verification. Sound if `problems` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The oldest event.
    pub first: Seq,
    /// The newest event.
    pub last: Seq,
    /// The number of events read.
    pub events: u64,
    /// The number of rows read.
    pub rows: u64,
    /// Numbers without an event, each `(first, last)`: losses from earlier damage.
    pub gaps: Vec<(Seq, Seq)>,
    /// Descriptions of all inconsistencies.
    pub problems: Vec<String>,
}

#[derive(Default)]
struct Walk {
    found: Verification,
    end: Option<(Seq, Hash)>,
    streams: HashMap<StreamId, (u64, Seq, bool)>,
}

impl Walk {
    fn step(&mut self, linked: &Linked) {
        let record = &linked.record;
        let problems = &mut self.found.problems;
        match self.end {
            Some((last, hash)) if record.seq == last + 1 && hash != linked.previous => {
                problems.push(format!("record {} does not continue the hash chain", record.seq));
            }
            Some((last, _)) if record.seq > last + 1 => self.found.gaps.push((last + 1, record.seq - 1)),
            Some(_) => {}
            None => self.found.first = record.seq,
        }
        self.found.events += 1;
        self.end = Some((record.seq, linked.hash));
        let now = (record.version, record.seq, record.ends_stream);
        let before = self.streams.insert(record.stream.clone(), now);
        let in_order = match before {
            Some((_, _, true)) => record.version == 1,
            Some((version, _, false)) => record.version == version + 1,
            None => true,
        };
        // Events in a gap may have changed the version.
        if !in_order && self.found.gaps.is_empty() {
            problems.push(format!("record {} is version {} of `{}`", record.seq, record.version, record.stream));
        }
    }
}

pub(crate) fn verify(shared: &Shared) -> Result<Verification, ReadError> {
    loop {
        let hot_first = shared.hot_first.load(atomic::Ordering::Acquire);
        let found = pass(shared)?;
        // Events that moved to the archive during the pass may have been missed in both places.
        if shared.hot_first.load(atomic::Ordering::Acquire) == hot_first {
            return Ok(found);
        }
    }
}

fn pass(shared: &Shared) -> Result<Verification, ReadError> {
    let backend = shared.backend().ok_or(ReadError::Closed)?;
    let mut walk = Walk::default();
    if let Some(archive) = &shared.archive {
        for header in archive.headers() {
            match archive.load(&header) {
                Ok(records) => records.iter().for_each(|linked| walk.step(linked)),
                Err(error) => walk.found.problems.push(error.to_string()),
            }
        }
    }
    // Order: rows come first, so that events appended meanwhile are newer than them, never older. Only durable events
    // are read.
    let last = shared.last();
    let (rows, meta) = saved_state(&*backend, &mut walk.found.problems)?;
    // A row that is being written is ahead of `last`; the next verification checks it.
    let archived = walk.end.map_or(0, |(last, _)| last);
    let from = shared.hot_first.load(atomic::Ordering::Acquire).min(archived + 1);
    let scanned = backend.scan(&keys::event(from), &keys::event(last.saturating_add(1)), &mut |key, value| {
        match envelope::decode(value) {
            Some(linked) if Some(linked.record.seq) != keys::seq(key) => {
                walk.found.problems.push(format!("record {} lies in the place of another", linked.record.seq));
            }
            // Archived, and not deleted here yet.
            Some(linked) if walk.end.is_some_and(|(last, _)| linked.record.seq <= last) => {}
            Some(linked) => walk.step(&linked),
            None => walk.found.problems.push(format!("record {} is not readable", keys::seq(key).unwrap_or(0))),
        }
        true
    });
    scanned.map_err(|cause| ReadError::Failed { cause })?;
    walk.found.rows = rows.values().filter(|saved| saved.is_row).count() as u64;
    let end = walk.end.map_or(0, |(seq, _)| seq);
    match meta {
        Some(Meta { last: head, hash, .. }) if head == end && walk.end.is_some_and(|(_, end)| end != hash) => {
            walk.found.problems.push(format!("the journal's head does not have the hash of record {end}"));
        }
        None if end > 0 => walk.found.problems.push("the journal's head is missing".into()),
        _ => {}
    }
    if last > end {
        walk.found.gaps.push((end + 1, last));
    }
    rows_agree(&mut walk, &rows, last);
    walk.found.last = last;
    Ok(walk.found)
}

struct SavedState {
    version: u64,
    seq: Seq,
    is_row: bool,
}

type Saved = HashMap<StreamId, SavedState>;

fn saved_state(
    backend: &dyn crate::backend::Backend,
    problems: &mut Vec<String>,
) -> Result<(Saved, Option<Meta>), ReadError> {
    let failed = |cause| ReadError::Failed { cause };
    let mut states = Saved::new();
    backend
        .scan(keys::ROWS.0, keys::ROWS.1, &mut |key, value| {
            match (saved::decode_row(value), keys::stream(key)) {
                (Some(row), Some(stream)) if row.stream == stream => {
                    states.insert(stream, SavedState { version: row.version, seq: row.seq, is_row: true });
                }
                (_, stream) => problems.push(format!("the row of {stream:?} is not readable")),
            }
            true
        })
        .map_err(failed)?;
    backend
        .scan(keys::HEADS.0, keys::HEADS.1, &mut |key, value| {
            match (saved::decode_head(value), keys::stream(key)) {
                (Some(head), Some(stream)) => {
                    let is_row = states.get(&stream).is_some_and(|state| state.is_row);
                    states.insert(stream, SavedState { version: head.version, seq: head.seq, is_row });
                }
                (None, stream) | (_, stream @ None) => problems.push(format!("the head of {stream:?} is not readable")),
            }
            true
        })
        .map_err(failed)?;
    let meta = backend.get(keys::JOURNAL_HEAD).map_err(failed)?;
    Ok((states, meta.as_deref().and_then(saved::decode_meta)))
}

fn rows_agree(walk: &mut Walk, rows: &Saved, last: Seq) {
    let mut wrong = Vec::new();
    for (stream, state) in rows {
        let Some((version, seq, ended)) = walk.streams.get(stream) else { continue };
        // A stream that ended may have begun anew with a row alone.
        let agrees = match (*ended, state.version.cmp(version)) {
            (true, _) => state.version == 0,
            (false, Ordering::Equal) => true,
            // The events in between are lost, the row is not.
            (false, Ordering::Greater) => !walk.found.gaps.is_empty(),
            (false, Ordering::Less) => false,
        };
        // A row newer than `last` was written after the events were read.
        if state.seq <= last && (!agrees || state.seq < *seq) {
            let end = if *ended { " and end there" } else { "" };
            wrong.push(format!("`{stream}` is saved at version {}, its events go to {version}{end}", state.version));
        }
    }
    wrong.sort();
    walk.found.problems.extend(wrong);
}
