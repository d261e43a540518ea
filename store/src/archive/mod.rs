//! The cold part of the journal: files of consecutive records, compressed, checksummed, written once.
//!
//! A file becomes visible only when whole (temporary name, sync, rename, sync of the directory) and goes only whole.
//! Its name and its header continue the numbers and the hash chain, so that a missing or exchanged file is noticed; what
//! retention has removed is noted apart from it ([`pruned`]).

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
    /// The file read last: whoever reads history reads it in small portions.
    recent: Mutex<Option<(Seq, Arc<Vec<Linked>>)>>,
    /// The first events of files whose content proved unreadable: passed over, not read again.
    unreadable: Mutex<BTreeSet<Seq>>,
    /// Events up to here were removed by retention.
    pruned: AtomicU64,
    /// What the note says, if there is a readable one.
    noted: Mutex<Option<Seq>>,
    /// Files that retention has renamed for want of space: they stay until the note covers them. Held while files are removed.
    retired: Mutex<Vec<PathBuf>>,
}

/// The extension of a file that retention has renamed.
const GONE: &str = "gone";

/// What becomes of a reading that meets a file which cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It fails.
    Fails,
    /// It goes on behind the file, whose events are a gap.
    PassedOver,
}

impl Archive {
    /// Reads the headers of all files in `dir`; also gives the files that cannot be read. Changes nothing.
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
                } else if path.extension().is_some_and(|extension| extension == GONE) {
                    retired.push(path);
                }
            }
        }
        files.sort_by_key(|header| header.first);
        // Overlaps cannot come from here; a file that repeats another's records is not used.
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

    /// Takes files off the list that do not lead to what follows them, and gives their paths. `hash_of` is the database's
    /// word for the hash of an event, where it has one: the chain is followed backwards from there.
    pub(crate) fn drop_foreign(&self, hash_of: impl Fn(Seq) -> Option<Hash>) -> Vec<PathBuf> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut foreign = Vec::new();
        // First event and previous hash of the file that follows.
        let mut next: Option<(Seq, Hash)> = None;
        let mut kept: Vec<Header> = Vec::with_capacity(files.len());
        for header in files.drain(..).rev() {
            let continued = next.filter(|(first, _)| *first == header.last + 1).map(|(_, previous)| previous);
            if continued.or_else(|| hash_of(header.last)).is_some_and(|hash| hash != header.hash) {
                foreign.push(file::path(&self.dir, header.first, header.last));
                // Nothing vouches for what is before a file that is not of this chain.
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

    /// The ranges of numbers before `hot_first` that neither a file holds nor retention has removed.
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

    /// Notes durably that events up to `last`, and all that retention has removed before, are to be missing.
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

    /// Whether it is known what retention has removed.
    pub(crate) fn is_noted(&self) -> bool {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).is_some() || self.pruned() > 0
    }

    /// The same note as the other's, if that has one.
    pub(crate) fn note_as(&self, other: &Self) -> Result<(), ReadError> {
        if other.is_noted() { self.note_pruned(other.pruned()) } else { Ok(()) }
    }

    /// Whether a file that cannot be read holds, or held, one of these events.
    pub(crate) fn is_unreadable(&self, first: Seq, last: Seq) -> bool {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        self.headers().iter().any(|it| it.first <= last && it.last >= first && unreadable.contains(&it.first))
    }

    /// Removes what a crash left half written.
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
        // Without the note they have to stay, empty as they are.
        if !retired.is_empty() && self.note_pruned(0).is_ok() {
            forget(&mut retired);
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

    /// Up to `limit` records from the first file that has any at or after `from`.
    pub(crate) fn read(&self, from: Seq, limit: usize, unreadable: Unreadable) -> Result<Vec<Record>, ReadError> {
        loop {
            let passed =
                |header: &Header| unreadable == Unreadable::PassedOver && self.is_unreadable(header.first, header.last);
            let found = self.headers().into_iter().find(|header| header.last >= from && !passed(header));
            let Some(header) = found else {
                return Ok(Vec::new());
            };
            let records = match self.load(&header) {
                // Pruned since the list was read, perhaps emptied while it was.
                Err(_) if !self.headers().iter().any(|kept| kept.first == header.first) => continue,
                // Its events are a gap; those behind it are still worth having.
                Err(error @ ReadError::Archive { .. }) if unreadable == Unreadable::PassedOver => {
                    warn!(error = &error as &dyn std::error::Error, "an archive file is passed over");
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

    /// Removes the oldest files as long as `expendable` says so of each; gives how many events went.
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
        // First: a file that is gone without this is one that was lost.
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
        forget(&mut retired);
        file::sync_dir(&self.dir)?;
        Ok(pruned)
    }

    /// Takes the file's space and leaves its name, which says that retention has removed it.
    fn retire(&self, header: &Header, retired: &mut Vec<PathBuf>) -> Result<(), ReadError> {
        let path = file::path(&self.dir, header.first, header.last);
        let gone = path.with_extension(GONE);
        fs::rename(&path, &gone).reading("rename", path)?;
        self.pruned.fetch_max(header.last, Ordering::AcqRel);
        self.unlist(header);
        retired.push(gone.clone());
        // Before its content goes: under its old name, an empty file would be a damaged one.
        file::sync_dir(&self.dir)?;
        OpenOptions::new().write(true).truncate(true).open(&gone).map(drop).reading("empty", gone)
    }

    /// Before the file goes, so that a reader that misses it finds that it is not listed any more.
    fn unlist(&self, header: &Header) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.retain(|kept| kept.first != header.first);
        drop(files);
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Removes files that the note covers; those that cannot be removed are tried again.
fn forget(retired: &mut Vec<PathBuf>) {
    retired.retain(|path| fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
}

fn is_full(error: &ReadError) -> bool {
    matches!(error, ReadError::Io { source, .. }
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
