//! Rewrites a journal with other payloads, for migrations: the same events at the same numbers, in another format.

use crate::archive::Archive;
use crate::backend::disk::Disk;
use crate::backend::{self, Backend, Changes};
use crate::envelope::{self, Hash, Linked};
use crate::error::IoContext;
use crate::open::{Formats, LAYOUT, ReadCopy, hash_of, known_formats, lock, repaired, sync_dir, write_format};
use crate::saved::{self, Meta};
use crate::{OpenError, OpenReport, ReadError, Record, SavedRow, Seq, VALUE_LIMIT, keys};
use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Events or rows committed in one batch.
const STEP: usize = 256;

/// An event or a row of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// An event; its kind, schema and payload may be changed.
    Record(Record),
    /// A savepoint row; its schema and bytes may be changed.
    Row(SavedRow),
}

/// The result of a rewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The number of events.
    pub records: u64,
    /// The number of rows.
    pub rows: u64,
    /// The last event's number.
    pub last: Seq,
    /// The repairs made on the way, in the copy: the original is unchanged.
    pub report: OpenReport,
}

/// A journal was not rewritten; the incomplete new journal is useless.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// There is no journal to rewrite.
    #[error("there is no journal at `{path}`")]
    Missing {
        /// The path without a journal.
        path: PathBuf,
    },
    /// The old journal cannot be opened, or the new one cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The old journal cannot be read, or the new archive cannot be written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The caller's function failed.
    #[error("cannot convert {item}")]
    Convert {
        /// The event or row.
        item: String,
        /// The error of the caller's function.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The caller's function returned something else: only kind, schema and bytes may change.
    #[error("converting {item} has changed more than its content")]
    Identity {
        /// The event or row.
        item: String,
    },
    /// The converted event or row does not fit into a stored value.
    #[error("{item} has {size} bytes after converting, the limit is {limit}")]
    TooLarge {
        /// The event or row.
        item: String,
        /// Size of the value as it would be stored.
        size: usize,
        /// The first size that is rejected.
        limit: usize,
    },
}

impl From<crate::Fault> for RewriteError {
    fn from(fault: crate::Fault) -> Self {
        Self::Open(fault.into())
    }
}

/// Writes the journal at `from` to a new one at `to`, which must not exist, with every event and row passed through
/// `convert`, in order. Numbers, versions, times and boots stay; the hash chain is computed anew. `from` is locked
/// meanwhile and not changed. When it returns, `to` is durable and has the format `format`. On failure `to` may exist
/// and is incomplete. Blocks.
pub fn rewrite(
    from: &Path,
    to: &Path,
    format: u16,
    convert: impl FnMut(Stored) -> Result<Stored, Box<dyn Error + Send + Sync>>,
) -> Result<Rewritten, RewriteError> {
    if !from.is_dir() {
        return Err(RewriteError::Missing { path: from.into() });
    }
    let _lock = lock(from)?;
    let Some(found) = known_formats(from)?.formats else { return Err(RewriteError::Missing { path: from.into() }) };
    let damaged = |problem: String| OpenError::Damaged { path: from.into(), problem };
    if found.layout != LAYOUT {
        return Err(damaged(format!("its layout is {}, not {LAYOUT}", found.layout)).into());
    }
    let (archive, mut unreadable) = Archive::open(from.join("archive"))?;
    let reading = ReadCopy::open(from)?;
    unreadable.extend(archive.drop_foreign(|seq| hash_of(&reading, seq)));
    if let Some(path) = unreadable.first() {
        let problem = "is not readable, or not the one that was written: move it elsewhere to go on without its events";
        return Err(damaged(format!("its archive file `{}` {problem}", path.display())).into());
    }
    let mut report = OpenReport::default();
    let (last, source_hash) = repaired(&reading, &archive, found.records, from, &mut report)?;
    DirBuilder::new().mode(0o700).create(to).opening("create", to)?;
    let (new_archive, _) = Archive::open(to.join("archive"))?;
    new_archive.copy_note(&archive)?;
    let mut rewriter = Rewriter { convert, hash: None, done: Rewritten { last, report, ..Rewritten::default() } };
    for header in archive.headers() {
        let records = archive.load(&header)?;
        let records: Result<Vec<_>, _> = records.iter().map(|linked| rewriter.record(linked.clone())).collect();
        new_archive.add(&records?)?;
    }
    let disk = Disk::open(to, None)?;
    let archived = archive.end().map_or(0, |(last, _)| last);
    rewriter.events(&reading, &disk, archived)?;
    rewriter.rows(&reading, &disk)?;
    let mut changes = Changes::default();
    for bounds in [keys::HEADS, keys::GAPS] {
        reading.scan(bounds.0, bounds.1, &mut |key, value| {
            changes.put(key.to_vec(), value.to_vec());
            true
        })?;
    }
    let hash = rewriter.hash.unwrap_or(source_hash);
    changes.put(keys::JOURNAL_HEAD.to_vec(), saved::encode_meta(Meta { format, last, hash }));
    backend::commit(&disk, changes)?;
    drop(disk);
    write_format(to, Formats { layout: LAYOUT, records: format })?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent).opening("sync", parent)?;
    Ok(rewriter.done)
}

struct Rewriter<F> {
    convert: F,
    /// The hash of the event before, once there was one.
    hash: Option<Hash>,
    done: Rewritten,
}

impl<F: FnMut(Stored) -> Result<Stored, Box<dyn Error + Send + Sync>>> Rewriter<F> {
    fn record(&mut self, linked: Linked) -> Result<Linked, RewriteError> {
        let Linked { record: old, previous, .. } = linked;
        let item = || format!("event {}", old.seq);
        let converted = (self.convert)(Stored::Record(old.clone()));
        let record = match converted.map_err(|source| RewriteError::Convert { item: item(), source })? {
            Stored::Record(new) => new,
            Stored::Row(_) => return Err(RewriteError::Identity { item: item() }),
        };
        let content = Record { kind: old.kind, schema: old.schema, payload: old.payload.clone(), ..record.clone() };
        if content != old {
            return Err(RewriteError::Identity { item: item() });
        }
        let size = envelope::encoded_length(&record.stream, record.payload.len());
        if size >= VALUE_LIMIT {
            return Err(RewriteError::TooLarge { item: item(), size, limit: VALUE_LIMIT });
        }
        // Earlier events are pruned: the hash in the oldest event stays the chain's anchor.
        let previous = self.hash.unwrap_or(previous);
        let (_, hash) = envelope::encode(&record, &previous);
        self.hash = Some(hash);
        self.done.records += 1;
        Ok(Linked { record, previous, hash })
    }

    fn events(&mut self, from: &dyn Backend, to: &dyn Backend, archived: Seq) -> Result<(), RewriteError> {
        let mut after = keys::event(archived);
        loop {
            let mut page = Vec::new();
            page_after(from, &after, keys::EVENTS.1, &mut page)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after.clone_from(last);
            let mut changes = Changes::default();
            for (key, value) in page {
                let seq = keys::seq(&key).unwrap_or(0);
                let linked = self.record(envelope::decode(&value).ok_or(ReadError::Damaged { seq })?)?;
                changes.put(key, envelope::encode(&linked.record, &linked.previous).0);
            }
            backend::commit(to, changes)?;
        }
    }

    fn rows(&mut self, from: &dyn Backend, to: &dyn Backend) -> Result<(), RewriteError> {
        let mut after = keys::ROWS.0.to_vec();
        loop {
            let mut page = Vec::new();
            page_after(from, &after, keys::ROWS.1, &mut page)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after.clone_from(last);
            let mut changes = Changes::default();
            for (key, value) in page {
                // The repair has dropped rows that cannot be decoded.
                let Some(row) = saved::decode_row(&value) else { continue };
                changes.put(key, saved::encode_row(&self.row(row)?));
            }
            backend::commit(to, changes)?;
        }
    }

    fn row(&mut self, old: SavedRow) -> Result<SavedRow, RewriteError> {
        let item = || format!("the row of `{}`", old.stream);
        let converted = (self.convert)(Stored::Row(old.clone()));
        let row = match converted.map_err(|source| RewriteError::Convert { item: item(), source })? {
            Stored::Row(new) if (&new.stream, new.version, new.seq) == (&old.stream, old.version, old.seq) => new,
            _ => return Err(RewriteError::Identity { item: item() }),
        };
        let size = saved::row_length(&row.stream, row.bytes.len());
        if size >= VALUE_LIMIT {
            return Err(RewriteError::TooLarge { item: item(), size, limit: VALUE_LIMIT });
        }
        self.done.rows += 1;
        Ok(row)
    }
}

type Page = Vec<(Vec<u8>, Vec<u8>)>;

/// The next entries after the key `after`.
fn page_after(from: &dyn Backend, after: &[u8], end: &[u8], page: &mut Page) -> Result<(), RewriteError> {
    from.scan(after, end, &mut |key, value| {
        if key != after {
            page.push((key.to_vec(), value.to_vec()));
        }
        page.len() < STEP
    })?;
    Ok(())
}
