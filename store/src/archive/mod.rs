//! The cold part of the journal: files of consecutive records, compressed, checksummed, written once.
//!
//! A file becomes visible only when whole (temporary name, sync, rename, sync of the directory) and goes only whole.
//! Its header continues the hash chain, so that a missing or exchanged file is noticed.

mod file;

use crate::envelope::{Hash, Linked};
use crate::error::IoContext;
use crate::{OpenError, ReadError, Record, Seq};
pub(crate) use file::Header;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The archive of one journal.
pub(crate) struct Archive {
    dir: PathBuf,
    files: RwLock<Vec<Header>>,
    /// The file read last: whoever reads history reads it in small portions.
    recent: Mutex<Option<(Seq, Arc<Vec<Linked>>)>>,
}

impl Archive {
    /// Reads the headers of all files in `dir`; also gives the files that cannot be read. Changes nothing.
    pub(crate) fn open(dir: PathBuf) -> Result<(Self, Vec<PathBuf>), OpenError> {
        let (mut files, mut unreadable) = (Vec::new(), Vec::new());
        if dir.exists() {
            for entry in fs::read_dir(&dir).opening("list", &dir)? {
                let path = entry.opening("list", &dir)?.path();
                if path.extension().is_some_and(|extension| extension == "seg") {
                    match file::read_header(&path) {
                        Ok(header) => files.push(header),
                        Err(_) => unreadable.push(path),
                    }
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
        Ok((Self { dir, files: RwLock::new(files), recent: Mutex::default() }, unreadable))
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
    pub(crate) fn read(&self, from: Seq, limit: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            let Some(header) = self.headers().into_iter().find(|header| header.last >= from) else {
                return Ok(Vec::new());
            };
            let records = match self.load(&header) {
                // Pruned since the list was read.
                Err(ReadError::Io { .. }) if !self.headers().iter().any(|kept| kept.first == header.first) => continue,
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
        let records = Arc::new(file::read(&file::path(&self.dir, header.first, header.last))?);
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some((header.first, records.clone()));
        Ok(records)
    }

    /// Removes the oldest files as long as `expendable` says so of each; gives how many events went.
    pub(crate) fn prune(&self, expendable: impl Fn(&Header, u64) -> bool) -> Result<u64, ReadError> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut events_after: u64 = files.iter().map(Header::count).sum();
        let mut pruned = 0;
        while let Some(header) = files.first() {
            events_after -= header.count();
            if !expendable(header, events_after) {
                break;
            }
            let path = file::path(&self.dir, header.first, header.last);
            fs::remove_file(&path).reading("remove", path)?;
            pruned += header.count();
            files.remove(0);
        }
        if pruned > 0 {
            *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = None;
            file::sync_dir(&self.dir)?;
        }
        Ok(pruned)
    }
}
