//! The cold part of the journal: files of consecutive records, compressed, checksummed, written once.
//!
//! A file becomes visible only as a whole (temporary name, sync, rename, sync of the directory) and is removed only as
//! a whole. Its name and its header continue the numbers and the hash chain, so that a missing or exchanged file is
//! detected; the extent of retention is noted apart from the files ([`pruned`]).

mod file;
mod pruned;

use crate::envelope::{Hash, Linked};
use crate::error::IoContext;
use crate::{OpenError, ReadError, Record, Seq};
pub(crate) use file::Header;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tracing::warn;

/// The archive of one journal.
pub(crate) struct Archive {
    dir: PathBuf,
    files: RwLock<Vec<Header>>,
    /// The file read last: readers of history read it in small portions.
    recent: Mutex<Option<(Seq, Arc<Vec<Linked>>)>>,
    /// The first events of files with unreadable content: they are skipped and not read again.
    unreadable: Mutex<BTreeSet<Seq>>,
    /// Events up to here were removed by retention.
    pruned: AtomicU64,
    /// The content of the note, if there is a readable one.
    noted: Mutex<Option<Seq>>,
    /// Files that retention has renamed because the disk was full: they stay until the note covers them. Locked while
    /// files are removed.
    retired: Mutex<Vec<PathBuf>>,
}

/// The extension of a file that retention has renamed.
const RETIRED: &str = "gone";

/// How a read treats an unreadable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUnreadable {
    /// The read fails.
    Fail,
    /// The read continues after the file; the events of the file are a gap.
    Skip,
}

impl Archive {
    /// Reads the headers of all files in `dir`; also returns the unreadable files. Changes nothing.
    pub(crate) fn open(dir: PathBuf) -> Result<(Self, Vec<PathBuf>), OpenError> {
        let (mut files, mut unreadable, mut retired) = (Vec::new(), Vec::new(), Vec::new());
        if dir.exists() {
            for entry in fs::read_dir(&dir).opening("list", &dir)? {
                let path = entry.opening("list", &dir)?.path();
                if path.extension().is_some_and(|extension| extension == "seg") {
                    match file::read_header(&path) {
                        Ok(header) => files.push(header),
                        Err(_) => unreadable.push(path),
                    }
                } else if path.extension().is_some_and(|extension| extension == RETIRED) {
                    retired.push(path);
                }
            }
        }
        files.sort_by_key(|header| header.first);
        // This code writes no overlapping files; a file that repeats the records of another one is not used.
        let mut end = 0;
        files.retain(|header| {
            let fresh = header.first > end;
            if fresh {
                end = header.last;
            } else {
                unreadable.push(file::path(&dir, header.first, header.last));
            }
            fresh
        });
        unreadable.sort();
        let noted = pruned::read(&dir);
        let pruned = retired.iter().filter_map(|path| file::last_in_name(path)).chain(noted).max();
        let archive = Self {
            dir,
            files: RwLock::new(files),
            recent: Mutex::default(),
            unreadable: Mutex::default(),
            pruned: AtomicU64::new(pruned.unwrap_or(0)),
            noted: Mutex::new(noted),
            retired: Mutex::new(retired),
        };
        Ok((archive, unreadable))
    }

    /// Removes files from the list that do not lead to their successor, and returns their paths. `hash_of` returns the
    /// hash of an event from the database, where it has one: the chain is followed backwards from there.
    pub(crate) fn drop_foreign(&self, hash_of: impl Fn(Seq) -> Option<Hash>) -> Vec<PathBuf> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut foreign = Vec::new();
        // First event and previous hash of the next file.
        let mut next: Option<(Seq, Hash)> = None;
        let mut kept: Vec<Header> = Vec::with_capacity(files.len());
        for header in files.drain(..).rev() {
            let continued = next.filter(|(first, _)| *first == header.last + 1).map(|(_, previous)| previous);
            if continued.or_else(|| hash_of(header.last)).is_some_and(|hash| hash != header.hash) {
                foreign.push(file::path(&self.dir, header.first, header.last));
                // Nothing confirms the files before one that is not of this chain.
                next = None;
            } else {
                next = Some((header.first, header.previous));
                kept.push(header);
            }
        }
        kept.reverse();
        *files = kept;
        foreign
    }

    /// The ranges of numbers before `hot_first` that are neither in a file nor removed by retention.
    pub(crate) fn missing(&self, hot_first: Seq) -> Vec<(Seq, Seq)> {
        let mut next = self.pruned() + 1;
        let mut missing = Vec::new();
        for (first, last) in self.headers().iter().map(|header| (header.first, header.last)).chain([(hot_first, 0)]) {
            if first > next {
                missing.push((next, first - 1));
            }
            next = next.max(last.saturating_add(1));
        }
        missing
    }

    /// Events up to here were removed by retention.
    pub(crate) fn pruned(&self) -> Seq {
        self.pruned.load(Ordering::Acquire)
    }

    /// Notes durably that events up to `last`, and all that retention has removed before, are missing on purpose.
    pub(crate) fn note_pruned(&self, last: Seq) -> Result<(), ReadError> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.max(self.pruned());
        if noted.is_none_or(|noted| noted < last) {
            pruned::write(&self.dir, last)?;
            *noted = Some(last);
            self.pruned.fetch_max(last, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Whether the extent of retention is known.
    pub(crate) fn is_noted(&self) -> bool {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).is_some() || self.pruned() > 0
    }

    /// Copies the note of another archive, if it has one.
    pub(crate) fn copy_note(&self, other: &Self) -> Result<(), ReadError> {
        if other.is_noted() { self.note_pruned(other.pruned()) } else { Ok(()) }
    }

    /// Whether an unreadable file holds, or held, one of these events.
    pub(crate) fn is_unreadable(&self, first: Seq, last: Seq) -> bool {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        self.headers().iter().any(|it| it.first <= last && it.last >= first && unreadable.contains(&it.first))
    }

    /// Removes temporary files that a crash left behind.
    pub(crate) fn sweep(&self) -> Result<(), OpenError> {
        if !self.dir.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.dir).opening("list", &self.dir)? {
            let path = entry.opening("list", &self.dir)?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).opening("remove", &path)?;
            }
        }
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Without the note, empty retired files have to stay.
        if !retired.is_empty() && self.note_pruned(0).is_ok() {
            remove_retired(&mut retired);
        }
        Ok(())
    }

    pub(crate) fn first(&self) -> Option<Seq> {
        self.headers().first().map(|header| header.first)
    }

    /// The last archived record's position and hash.
    pub(crate) fn end(&self) -> Option<(Seq, Hash)> {
        self.headers().last().map(|header| (header.last, header.hash))
    }

    pub(crate) fn headers(&self) -> Vec<Header> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds one file with these records, which follow everything archived so far.
    pub(crate) fn add(&self, records: &[Linked]) -> Result<(), ReadError> {
        let header = file::write(&self.dir, records)?;
        self.files.write().unwrap_or_else(PoisonError::into_inner).push(header);
        Ok(())
    }

    /// Up to `limit` records from the first file that has any at or after `from`; none if no file has.
    pub(crate) fn read(&self, from: Seq, limit: usize, on_unreadable: OnUnreadable) -> Result<Vec<Record>, ReadError> {
        loop {
            let passed =
                |header: &Header| on_unreadable == OnUnreadable::Skip && self.is_unreadable(header.first, header.last);
            let found = self.headers().into_iter().find(|header| header.last >= from && !passed(header));
            let Some(header) = found else {
                return Ok(Vec::new());
            };
            let records = match self.load(&header) {
                // The file was pruned since the list was read, perhaps emptied during the read.
                Err(_) if !self.headers().iter().any(|kept| kept.first == header.first) => continue,
                // Its events are a gap; later events can still be read.
                Err(error @ ReadError::Archive { .. }) if on_unreadable == OnUnreadable::Skip => {
                    warn!(error = &error as &dyn std::error::Error, "an unreadable archive file is skipped");
                    self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).insert(header.first);
                    continue;
                }
                records => records?,
            };
            let start = records.partition_point(|linked| linked.record.seq < from);
            return Ok(records[start..].iter().take(limit).map(|linked| linked.record.clone()).collect());
        }
    }

    /// All records of one file, verified.
    pub(crate) fn load(&self, header: &Header) -> Result<Arc<Vec<Linked>>, ReadError> {
        if let Some((first, records)) = &*self.recent.lock().unwrap_or_else(PoisonError::into_inner)
            && *first == header.first
        {
            return Ok(records.clone());
        }
        let records = Arc::new(file::read(&file::path(&self.dir, header.first, header.last), header)?);
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some((header.first, records.clone()));
        Ok(records)
    }

    /// Removes the oldest files as long as `expendable` accepts them; returns the number of events removed.
    pub(crate) fn prune(&self, expendable: impl Fn(&Header, u64) -> bool) -> Result<u64, ReadError> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let headers = self.headers();
        let mut events_after: u64 = headers.iter().map(Header::count).sum();
        let over = headers.iter().take_while(|header| {
            events_after -= header.count();
            expendable(header, events_after)
        });
        let over: Vec<&Header> = over.collect();
        let Some(newest) = over.last() else { return Ok(0) };
        let (mut left, mut pruned) = (over.iter(), 0);
        // Order: the note comes first. A file that is missing without the note counts as lost.
        while let Err(error) = self.note_pruned(newest.last) {
            let Some(header) = left.next().filter(|_| is_full(&error)) else {
                return if pruned > 0 && is_full(&error) { Ok(pruned) } else { Err(error) };
            };
            self.retire(header, &mut retired)?;
            pruned += header.count();
        }
        for header in left {
            self.unlist(header);
            let path = file::path(&self.dir, header.first, header.last);
            fs::remove_file(&path).reading("remove", path)?;
            pruned += header.count();
        }
        remove_retired(&mut retired);
        file::sync_dir(&self.dir)?;
        Ok(pruned)
    }

    /// Frees the file's space and keeps its name, which records that retention has removed it.
    fn retire(&self, header: &Header, retired: &mut Vec<PathBuf>) -> Result<(), ReadError> {
        let path = file::path(&self.dir, header.first, header.last);
        let renamed = path.with_extension(RETIRED);
        fs::rename(&path, &renamed).reading("rename", path)?;
        self.pruned.fetch_max(header.last, Ordering::AcqRel);
        self.unlist(header);
        retired.push(renamed.clone());
        // Order: the rename is synced before the content is removed. Under its old name, an empty file would be
        // damaged.
        file::sync_dir(&self.dir)?;
        OpenOptions::new().write(true).truncate(true).open(&renamed).map(drop).reading("empty", renamed)
    }

    /// Order: called before the file is removed, so that a reader that misses the file finds it unlisted.
    fn unlist(&self, header: &Header) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.retain(|kept| kept.first != header.first);
        drop(files);
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Removes files that the note covers; a file that cannot be removed stays in the list for the next attempt.
fn remove_retired(retired: &mut Vec<PathBuf>) {
    retired.retain(|path| fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
}

fn is_full(error: &ReadError) -> bool {
    matches!(error, ReadError::Io { source, .. }
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
