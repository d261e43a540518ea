//! Reads a journal without changing it: the database writes whenever it is opened, so a copy is opened.

use super::aside::{beside, copy_database};
use super::examine::{self, Findings, Unusable, examine};
use super::format::{Formats, LAYOUT};
use super::{Loaded, private_dir, remove_generating, repair, shared, started_with};
use crate::archive::Archive;
use crate::backend::disk::Disk;
use crate::backend::memory::Memory;
use crate::backend::{Backend, Changes, Visit};
use crate::envelope::Hash;
use crate::error::IoContext;
use crate::writer::StreamState;
use crate::{Fault, NewerFormat, OpenError, OpenReport, Opened, Options, Seq, gap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The database of a journal, opened as a copy that is removed on drop.
pub(crate) struct ReadCopy {
    disk: Option<Disk>,
    copy: PathBuf,
}

impl ReadCopy {
    /// Copies the database and opens the copy. The caller holds the lock of `dir`, so there is one copy at a time.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let copy = copy_of(dir).opening("find", dir)?;
        sweep(dir);
        private_dir(&copy).opening("create", &copy)?;
        let mut reading = Self { disk: None, copy: copy.clone() };
        copy_database(dir, &copy).opening("copy to", &copy)?;
        remove_generating(&copy)?;
        reading.disk = Some(Disk::open(&copy, None)?);
        Ok(reading)
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it is there until the drop")
    }
}

impl Drop for ReadCopy {
    fn drop(&mut self) {
        drop(self.disk.take());
        // If this fails, the next opening removes it.
        let _ = fs::remove_dir_all(&self.copy);
    }
}

impl Backend for ReadCopy {
    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        self.disk().apply(changes)
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        self.disk().scan(from, to, visit)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.disk().get(key)
    }
}

fn copy_of(dir: &Path) -> std::io::Result<PathBuf> {
    beside(dir, ".reading")
}

/// Removes the copy of a reader that was killed.
pub(super) fn sweep(dir: &Path) {
    if let Ok(copy) = copy_of(dir) {
        // Ignored: the copy may not exist, and one that cannot be removed does no harm.
        let _ = fs::remove_dir_all(copy);
    }
}

pub(super) fn open_newer(
    dir: &Path,
    found: Formats,
    options: Options,
    lock: File,
    started: Instant,
) -> Result<Opened, OpenError> {
    let newer = NewerFormat { found: found.records, known: options.format };
    let (archive, mut unreadable_archives) = Archive::open(dir.join("archive"))?;
    let mut missing = Vec::new();
    let (backend, archive, loaded): (Arc<dyn Backend>, _, _) = if found.layout > LAYOUT {
        // With a newer layout even the keys may have another meaning.
        (Arc::new(Memory::new(None)), None, Loaded { hot_first: 1, ..Loaded::default() })
    } else {
        let reading = ReadCopy::open(dir)?;
        unreadable_archives.extend(archive.drop_foreign(|seq| examine::hash_of(&reading, seq)));
        let loaded = load(&reading, &archive, dir)?;
        missing = gap::undeclared(&archive.missing(loaded.hot_first), &loaded.skipped);
        (Arc::new(reading), Some(archive), loaded)
    };
    let took = started.elapsed();
    let report = OpenReport { read_only: Some(newer), missing, unreadable_archives, took, ..OpenReport::default() };
    super::log_opening(dir, &report);
    let shared = shared(options, backend, archive, Some(lock), &loaded, Some(newer));
    started_with(dir, shared, loaded, report, None)
}

/// Repairs the copy as opening would repair the original; returns position and hash of the end.
pub(crate) fn repaired(
    reading: &ReadCopy,
    archive: &Archive,
    format: u16,
    dir: &Path,
    report: &mut OpenReport,
) -> Result<(Seq, Hash), OpenError> {
    let loaded = repair::repair(reading, examined(reading, archive, dir)?, archive, format, report)?;
    Ok((loaded.last, loaded.hash))
}

fn examined(backend: &dyn Backend, archive: &Archive, dir: &Path) -> Result<Findings, OpenError> {
    examine(backend, archive.end(), true).map_err(|unusable| match unusable {
        Unusable::Damaged(problem) => OpenError::Damaged { path: dir.into(), problem },
        Unusable::Fault(fault) => fault.into(),
    })
}

/// The readable content, unrepaired: a repair requires knowledge of the format.
fn load(backend: &dyn Backend, archive: &Archive, dir: &Path) -> Result<Loaded, OpenError> {
    let found = examined(backend, archive, dir)?;
    let archived = archive.end().map_or(0, |(last, _)| last);
    let Findings { rows, heads, hot_first, last, hash, recent, .. } = found;
    let skipped = examine::declared_gaps(backend)?;
    let hot_first = hot_first.max(archived + 1);
    let mut loaded = Loaded { hot_first, last, hash, recent, skipped, ..Loaded::default() };
    for row in rows.iter().filter(|row| row.seq <= last) {
        let state = StreamState { version: row.version, row: Some(row.seq), behind: false };
        loaded.streams.insert(row.stream.clone(), state);
    }
    for (stream, head) in heads {
        let state = loaded.streams.entry(stream).or_default();
        state.version = state.version.max(head.version);
        state.behind = true;
    }
    loaded.rows = rows;
    loaded.rows.retain(|row| row.seq <= last);
    Ok(loaded)
}
