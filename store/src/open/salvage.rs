//! The last resort: records and rows found by their magic numbers and checksums in the raw pages of a database that
//! does not open any more.
//!
//! Records found this way are genuine, but perhaps not the newest; so the journal continues at a number well above any
//! number in use, and reports itself as lost.

use super::sync_dir;
use crate::archive::Archive;
use crate::backend::{self, Backend, Changes};
use crate::envelope::{self, GENESIS, Hash, Linked};
use crate::error::IoContext;
use crate::saved::{self, Head, Meta, ROW_MAGIC};
use crate::{Fault, OpenError, Options, SavedRow, Seq, StreamId, keys};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tracing::warn;

/// The file with the location of the data during a salvage.
const NOTE: &str = "salvaging";
/// Entries written in one batch.
const STEP: usize = 256;

#[derive(Default)]
pub(super) struct Salvaged {
    records: BTreeMap<Seq, Linked>,
    rows: HashMap<StreamId, SavedRow>,
    /// The highest number in any record or row found.
    highest: Seq,
}

/// Notes that the database is being rebuilt from `aside`: until the end, the data is there.
pub(super) fn begin(dir: &Path, aside: &Path) -> Result<(), OpenError> {
    let path = dir.join(NOTE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(aside.as_os_str().as_bytes())?;
        file.sync_all()?;
        sync_dir(dir)
    });
    written.opening("write", path)
}

/// The location of the data, if a salvage was interrupted.
pub(super) fn interrupted(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    let path = dir.join(NOTE);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(aside) => {
            let aside = PathBuf::from(OsStr::from_bytes(&aside));
            // A note that was not written completely: nothing had been cleared by then.
            Ok(Some(aside).filter(|aside| aside.is_dir()))
        }
        Err(source) => Err(OpenError::Io { action: "read", path, source }),
    }
}

/// Removes the note.
pub(super) fn end(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(NOTE);
    fs::remove_file(&path).and_then(|()| sync_dir(dir)).opening("remove", path)
}

/// Searches all files of the database in `aside`. Events up to `acknowledged` have been returned to callers.
pub(super) fn collect(aside: &Path, archive: &Archive, acknowledged: Seq) -> Result<Salvaged, OpenError> {
    let archived = archive.end().map_or(0, |(last, _)| last);
    let mut found = Salvaged { highest: archived.max(acknowledged), ..Salvaged::default() };
    for path in files(aside)? {
        let bytes = fs::read(&path).opening("read", &path)?;
        search(&bytes, &mut found);
    }
    if let Some((archived, _)) = archive.end() {
        found.records = found.records.split_off(&(archived + 1));
    }
    Ok(found)
}

fn files(aside: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut files = Vec::new();
    for dir in [aside.to_path_buf(), aside.join("blobs")] {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).opening("list", &dir)? {
            let path = entry.opening("list", &dir)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn search(bytes: &[u8], found: &mut Salvaged) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        // A recognised entry is skipped as a whole: a payload may hold any bytes, also those of a record.
        at += if rest.starts_with(&envelope::MAGIC)
            && let Some(linked) = envelope::decode_prefix(rest)
        {
            let length = envelope::encoded_length(&linked.record.stream, linked.record.payload.len());
            found.highest = found.highest.max(linked.record.seq);
            found.records.insert(linked.record.seq, linked);
            length
        } else if rest.starts_with(&ROW_MAGIC)
            && let Some(row) = saved::decode_row_prefix(rest)
        {
            let length = saved::row_length(&row.stream, row.bytes.len());
            found.highest = found.highest.max(row.seq);
            match found.rows.get(&row.stream) {
                Some(known) if (known.seq, known.version) >= (row.seq, row.version) => {}
                _ => drop(found.rows.insert(row.stream.clone(), row)),
            }
            length
        } else {
            1
        };
    }
}

/// Fills a new database with the findings.
pub(super) fn rebuild(
    backend: &dyn Backend,
    mut found: Salvaged,
    archive: &Archive,
    options: &Options,
) -> Result<(), Fault> {
    let heads = settle(&mut found, archive);
    let mut writing = Writing { backend, changes: Changes::default(), count: 0 };
    let (mut last, mut hash): (Seq, Hash) = archive.end().unwrap_or((0, GENESIS));
    // Without an archive, all events that retention has left should be here.
    let mut next = last.max(archive.pruned()) + 1;
    for (seq, linked) in &found.records {
        if *seq > next {
            writing.put(keys::gap(next), (seq - 1).to_be_bytes().to_vec())?;
        }
        let (encoded, _) = envelope::encode(&linked.record, &linked.previous);
        writing.put(keys::event(*seq), encoded)?;
        (last, hash, next) = (*seq, linked.hash, seq + 1);
    }
    for row in found.rows.values() {
        writing.put(keys::row(&row.stream), saved::encode_row(row))?;
    }
    for (stream, head) in heads {
        writing.put(keys::head(&stream), saved::encode_head(head))?;
    }
    // At most all hot events of the time are missing; the margin covers windows of other settings.
    let margin = 10_000_u64.max(options.hot_window.saturating_add(options.archive_chunk).saturating_mul(2));
    let end = found.highest.max(last) + margin;
    writing.put(keys::gap(last + 1), end.to_be_bytes().to_vec())?;
    writing.put(keys::JOURNAL_HEAD.to_vec(), saved::encode_meta(Meta { format: options.format, last: end, hash }))?;
    writing.commit()
}

/// Drops rows of streams that ended later, and returns the heads of streams with rows behind their events.
fn settle(found: &mut Salvaged, archive: &Archive) -> HashMap<StreamId, Head> {
    let mut heads: HashMap<StreamId, Head> = HashMap::new();
    let Salvaged { records, rows, .. } = found;
    let mut see = |linked: &Linked| {
        let record = &linked.record;
        if !record.ends_stream {
            heads.insert(record.stream.clone(), Head { version: record.version, seq: record.seq });
            return;
        }
        heads.remove(&record.stream);
        if rows.get(&record.stream).is_some_and(|row| row.seq < record.seq) {
            rows.remove(&record.stream);
        }
    };
    for header in archive.headers() {
        match archive.load(&header) {
            Ok(archived) => archived.iter().for_each(&mut see),
            // The file stays, and a verification reports it.
            Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot salvage from the archive"),
        }
    }
    records.values().for_each(see);
    heads.retain(|stream, head| rows.get(stream).is_none_or(|row| row.seq < head.seq));
    heads
}

struct Writing<'a> {
    backend: &'a dyn Backend,
    changes: Changes,
    count: usize,
}

impl Writing<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Fault> {
        self.changes.put(key, value);
        self.count += 1;
        if self.count == STEP { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.count = 0;
        backend::commit(self.backend, std::mem::take(&mut self.changes))
    }
}
