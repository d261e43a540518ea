//! Examines the whole database; changes nothing.

use crate::backend::Backend;
use crate::envelope::{self, GENESIS, Hash};
use crate::saved::{self, Head, Meta};
use crate::shared::Recent;
use crate::{Fault, SavedRow, Seq, StreamId, keys};
use std::collections::{HashMap, HashSet};

/// The database opens, but its content cannot be the current state of this journal.
pub(super) enum Unusable {
    Damaged(String),
    Fault(Fault),
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The last event of a stream in the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastEvent {
    pub(super) version: u64,
    pub(super) seq: Seq,
    pub(super) ended: bool,
}

#[derive(Default)]
pub(super) struct Findings {
    pub(super) meta: Option<Meta>,
    pub(super) rows: Vec<SavedRow>,
    pub(super) heads: HashMap<StreamId, Head>,
    /// Keys of unreadable rows and heads.
    pub(super) bad_saved: Vec<Vec<u8>>,
    pub(super) last_events: HashMap<StreamId, LastEvent>,
    pub(super) hot_first: Seq,
    /// The newest event to keep, and its hash.
    pub(super) last: Seq,
    pub(super) hash: Hash,
    /// Events at the end that are torn or missing.
    pub(super) cut: Option<(Seq, Seq)>,
    /// The keys of events in `cut` that are in the database.
    pub(super) cut_keys: Vec<Vec<u8>>,
    /// Bad events with good ones after them.
    pub(super) bad: Vec<Seq>,
    /// Missing events with good ones after them.
    pub(super) missing: Vec<(Seq, Seq)>,
    pub(super) recent: Recent,
    /// The journal exists, but its head is missing or unreadable.
    pub(super) headless: bool,
}

impl Findings {
    /// Whether there is damage other than a torn end, so that a repair would remove evidence.
    pub(super) fn is_damaged(&self) -> bool {
        self.headless || !(self.bad.is_empty() && self.missing.is_empty() && self.bad_saved.is_empty())
    }

    /// Events of the cut end up to `acknowledged` were returned to callers: they are a loss, and their numbers stay
    /// unused.
    pub(super) fn keep_numbers(&mut self, acknowledged: Option<Seq>) {
        if let Some((first, last)) = self.cut.filter(|(first, _)| acknowledged.is_some_and(|seq| seq >= *first)) {
            self.cut = None;
            self.missing.push((first, last));
            self.last = last;
        }
    }
}

/// `archived`: position and hash of the archive's end. `existed`: an empty database means a loss, not a new journal.
pub(super) fn examine(
    backend: &dyn Backend,
    archived: Option<(Seq, Hash)>,
    existed: bool,
) -> Result<Findings, Unusable> {
    let mut found = Findings::default();
    let head = backend.get(keys::JOURNAL_HEAD)?;
    found.meta = head.as_deref().and_then(saved::decode_meta);
    events(backend, &mut found)?;
    saved_state(backend, &mut found)?;
    let (archive_last, archive_hash) = archived.unwrap_or((0, GENESIS));
    let no_events = found.last == 0;
    if no_events {
        // All events are in the archive, or there never were any.
        (found.last, found.hash) = (archive_last, archive_hash);
        found.hot_first = archive_last + 1;
        found.cut = found.cut.map(|(_, last)| (archive_last + 1, last));
    }
    match found.meta {
        None if no_events && existed => return Err(Unusable::Damaged("the database is empty".into())),
        None => found.headless = existed || !no_events || head.is_some(),
        Some(meta) => end(&mut found, meta, declared_gaps(backend)?),
    }
    if found.last < archive_last {
        let problem = format!("the database ends at event {}, the archive at {archive_last}", found.last);
        return Err(Unusable::Damaged(problem));
    }
    Ok(found)
}

/// Compares the end of the events with the head that was written with them.
fn end(found: &mut Findings, meta: Meta, gaps: Vec<(Seq, Seq)>) {
    if gaps.contains(&(found.last + 1, meta.last)) {
        // Numbers that an earlier loss of the database left unused.
        found.last = meta.last;
    }
    if meta.last > found.last {
        let first = found.last + 1;
        found.cut = Some((first, found.cut.map_or(meta.last, |(_, last)| last.max(meta.last))));
    }
}

fn events(backend: &dyn Backend, found: &mut Findings) -> Result<(), Unusable> {
    let gaps: HashSet<_> = declared_gaps(backend)?.into_iter().collect();
    let mut next: Option<Seq> = None;
    // The link to check; unknown behind a gap or a bad record.
    let mut hash: Option<Hash> = None;
    let mut bad: Vec<Seq> = Vec::new();
    let mut holes: Vec<(Seq, Seq)> = Vec::new();
    backend.scan(keys::EVENTS.0, keys::EVENTS.1, &mut |key, value| {
        let Some(seq) = keys::seq(key) else {
            found.bad_saved.push(key.to_vec());
            return true;
        };
        let expected = *next.get_or_insert(seq);
        if found.hot_first == 0 {
            found.hot_first = seq;
        }
        if seq > expected {
            if !gaps.contains(&(expected, seq - 1)) {
                holes.push((expected, seq - 1));
            }
            hash = None;
        }
        next = Some(seq.saturating_add(1));
        let linked = envelope::decode(value).filter(|linked| linked.record.seq == seq);
        let Some(linked) = linked.filter(|linked| hash.is_none_or(|hash| hash == linked.previous)) else {
            bad.push(seq);
            hash = None;
            return true;
        };
        // A good event follows, so the bad ones before it are not a torn end.
        found.bad.append(&mut bad);
        found.missing.append(&mut holes);
        hash = Some(linked.hash);
        (found.last, found.hash) = (seq, linked.hash);
        let last = LastEvent { version: linked.record.version, seq, ended: linked.record.ends_stream };
        found.last_events.insert(linked.record.stream.clone(), last);
        found.recent.push(linked.record);
        true
    })?;
    if let Some(last) = bad.last() {
        found.cut = Some((found.last + 1, *last));
        found.cut_keys = bad.iter().map(|seq| keys::event(*seq)).collect();
    }
    Ok(())
}

fn saved_state(backend: &dyn Backend, found: &mut Findings) -> Result<(), Fault> {
    let mut bad = Vec::new();
    backend.scan(keys::ROWS.0, keys::ROWS.1, &mut |key, value| {
        match saved::decode_row(value).filter(|row| keys::stream(key).as_ref() == Some(&row.stream)) {
            Some(row) => found.rows.push(row),
            None => bad.push(key.to_vec()),
        }
        true
    })?;
    backend.scan(keys::HEADS.0, keys::HEADS.1, &mut |key, value| {
        match (saved::decode_head(value), keys::stream(key)) {
            (Some(head), Some(stream)) => drop(found.heads.insert(stream, head)),
            _ => bad.push(key.to_vec()),
        }
        true
    })?;
    found.bad_saved.append(&mut bad);
    Ok(())
}

/// The hash of an event, if the database has the event, its successor, or a head that ends there.
pub(crate) fn hash_of(backend: &dyn Backend, seq: Seq) -> Option<Hash> {
    let event = |seq: Seq| {
        let value = backend.get(&keys::event(seq)).ok()??;
        envelope::decode(&value).filter(|linked| linked.record.seq == seq)
    };
    if let Some(linked) = event(seq) {
        return Some(linked.hash);
    }
    if let Some(next) = event(seq + 1) {
        return Some(next.previous);
    }
    let head = backend.get(keys::JOURNAL_HEAD).ok()??;
    saved::decode_meta(&head).filter(|meta| meta.last == seq).map(|meta| meta.hash)
}

/// The numbers lost to earlier damage, as `(first, last)`.
pub(super) fn declared_gaps(backend: &dyn Backend) -> Result<Vec<(Seq, Seq)>, Fault> {
    let mut gaps = Vec::new();
    backend.scan(keys::GAPS.0, keys::GAPS.1, &mut |key, value| {
        let last = value.try_into().ok().map(u64::from_be_bytes);
        gaps.extend(keys::seq(key).zip(last));
        true
    })?;
    Ok(gaps)
}
