//! Repairs the database according to the findings, in one batch, and returns the writer's initial state.

use super::Loaded;
use super::examine::{Findings, declared_gaps};
use crate::archive::Archive;
use crate::backend::{self, Backend, Changes};
use crate::saved::{self, Head, Meta};
use crate::writer::StreamState;
use crate::{Fault, OpenReport, Seq, StreamId, keys};
use std::collections::{BTreeMap, HashMap};

pub(super) fn repair(
    backend: &dyn Backend,
    mut found: Findings,
    archive: &Archive,
    format: u16,
    report: &mut OpenReport,
) -> Result<Loaded, Fault> {
    let mut changes = Changes::default();
    cut(&mut found, &mut changes, report);
    declare_gaps(&found, &mut changes, report);
    let dropped = drop_saved(&mut found, &mut changes);
    let uncertain = settle(&mut found, dropped, archive, &mut changes);
    report.uncertain = uncertain.into_iter().collect();
    let meta = Meta { format, last: found.last, hash: found.hash };
    if found.meta != Some(meta) {
        changes.put(keys::JOURNAL_HEAD.to_vec(), saved::encode_meta(meta));
    }
    backend::commit(backend, changes)?;
    // A crash between archiving and deleting leaves events in both places.
    let archived = archive.end().map_or(0, |(last, _)| last);
    let hot_first = found.hot_first.max(archived + 1);
    Ok(Loaded {
        streams: streams(&found),
        rows: found.rows,
        last: found.last,
        hash: found.hash,
        hot_first,
        trim: found.hot_first.min(hot_first)..hot_first,
        skipped: declared_gaps(backend)?,
        recent: found.recent,
    })
}

fn cut(found: &mut Findings, changes: &mut Changes, report: &mut OpenReport) {
    report.cut = found.cut;
    for key in found.cut_keys.drain(..) {
        changes.delete(key);
    }
}

fn declare_gaps(found: &Findings, changes: &mut Changes, report: &mut OpenReport) {
    let mut gaps = found.missing.clone();
    gaps.extend(found.bad.iter().map(|seq| (*seq, *seq)));
    gaps.sort_unstable();
    let mut joined: Vec<(Seq, Seq)> = Vec::new();
    for (first, last) in gaps {
        match joined.last_mut() {
            Some(before) if before.1 + 1 == first => before.1 = last,
            _ => joined.push((first, last)),
        }
    }
    for (first, last) in &joined {
        changes.put(keys::gap(*first), last.to_be_bytes().to_vec());
    }
    for seq in &found.bad {
        changes.delete(keys::event(*seq));
    }
    report.gaps = joined;
}

/// Drops rows and heads that are unreadable or refer to events that are cut; returns their streams.
fn drop_saved(found: &mut Findings, changes: &mut Changes) -> Vec<StreamId> {
    let mut dropped = Vec::new();
    for key in found.bad_saved.drain(..) {
        dropped.extend(keys::stream(&key));
        changes.delete(key);
    }
    let last = found.last;
    found.rows.retain(|row| {
        let keep = row.seq <= last;
        if !keep {
            changes.delete(keys::row(&row.stream));
            dropped.push(row.stream.clone());
        }
        keep
    });
    found.heads.retain(|stream, head| {
        let keep = head.seq <= last;
        if !keep {
            changes.delete(keys::head(stream));
            dropped.push(stream.clone());
        }
        keep
    });
    dropped
}

/// Makes rows and heads agree with the events; returns the streams with an uncertain state, and their versions.
fn settle(
    found: &mut Findings,
    dropped: Vec<StreamId>,
    archive: &Archive,
    changes: &mut Changes,
) -> BTreeMap<StreamId, u64> {
    let rows: HashMap<StreamId, (u64, Seq)> =
        found.rows.iter().map(|row| (row.stream.clone(), (row.version, row.seq))).collect();
    let mut uncertain = BTreeMap::new();
    for (stream, seen) in &found.last_events {
        let row = rows.get(stream);
        if seen.ended {
            if row.is_some_and(|(_, seq)| *seq < seen.seq) {
                changes.delete(keys::row(stream));
                found.rows.retain(|row| row.stream != *stream);
            }
            if found.heads.get(stream).is_some_and(|head| head.seq < seen.seq) {
                changes.delete(keys::head(stream));
                found.heads.remove(stream);
            }
            continue;
        }
        let saved = row.map(|(version, _)| *version).max(found.heads.get(stream).map(|head| head.version));
        if saved < Some(seen.version) {
            let head = Head { version: seen.version, seq: seen.seq };
            changes.put(keys::head(stream), saved::encode_head(head));
            found.heads.insert(stream.clone(), head);
            uncertain.insert(stream.clone(), seen.version);
        }
    }
    for stream in dropped {
        if uncertain.contains_key(&stream) || found.last_events.get(&stream).is_some_and(|seen| seen.ended) {
            continue;
        }
        let known = rows.get(&stream).map(|(version, _)| *version);
        let known = known.max(found.heads.get(&stream).map(|head| head.version));
        let version = known.or_else(|| {
            let (version, seq) = archived_version(archive, &stream)?;
            let head = Head { version, seq };
            changes.put(keys::head(&stream), saved::encode_head(head));
            found.heads.insert(stream.clone(), head);
            Some(version)
        });
        uncertain.insert(stream, version.unwrap_or(0));
    }
    uncertain
}

/// The stream's last version in the archive; `None` if the stream ended there. Reads the whole archive, which is
/// acceptable only after damage.
fn archived_version(archive: &Archive, stream: &StreamId) -> Option<(u64, Seq)> {
    for header in archive.headers().iter().rev() {
        let Ok(records) = archive.load(header) else { continue };
        if let Some(linked) = records.iter().rev().find(|linked| linked.record.stream == *stream) {
            let record = &linked.record;
            return (!record.ends_stream).then_some((record.version, record.seq));
        }
    }
    None
}

fn streams(found: &Findings) -> HashMap<StreamId, StreamState> {
    let mut streams: HashMap<StreamId, StreamState> = HashMap::new();
    for row in &found.rows {
        let state = StreamState { version: row.version, row: Some(row.seq), behind: false };
        streams.insert(row.stream.clone(), state);
    }
    for (stream, head) in &found.heads {
        let state = streams.entry(stream.clone()).or_default();
        state.version = state.version.max(head.version);
        state.behind = true;
    }
    streams
}
