//! State that the writer publishes for all readers.

use crate::archive::{Archive, Header, OnUnreadable};
use crate::backend::Backend;
use crate::{Fault, Gap, GapCause, NewerFormat, Options, ReadError, Record, Seq, envelope, gap, keys};
use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

pub(crate) struct Shared {
    pub(crate) options: Options,
    /// `None` once the journal is closed.
    pub(crate) backend: RwLock<Option<Arc<dyn Backend>>>,
    /// The lock on the directory, held as long as the backend.
    pub(crate) lock: Mutex<Option<File>>,
    /// `None` for a journal in memory, which keeps all events hot.
    pub(crate) archive: Option<Archive>,
    /// The first event that is read from the backend; older ones are in the archive.
    pub(crate) hot_first: AtomicU64,
    /// The numbers that repairs skipped, in order.
    pub(crate) skipped: Vec<(Seq, Seq)>,
    /// Events after this are needed to bring rows up to date.
    pub(crate) replay_after: AtomicU64,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) last: watch::Sender<Seq>,
    pub(crate) fault: watch::Sender<Option<Fault>>,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) read_only: Option<NewerFormat>,
}

/// The newest records, so that up-to-date subscribers never read from the disk.
#[derive(Default)]
pub(crate) struct Recent {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Recent {
    const RECORDS: usize = 1024;
    const BYTES: usize = 512 << 10;

    pub(crate) fn push(&mut self, record: Record) {
        self.bytes += record.payload.len();
        self.records.push_back(record);
        while self.records.len() > Self::RECORDS || self.bytes > Self::BYTES {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.payload.len();
        }
    }

    /// Up to `limit` records at or after `from`; `None` if `from` is before the oldest record in memory.
    fn since(&self, from: Seq, limit: usize) -> Option<Vec<Record>> {
        if self.records.front()?.seq > from {
            return None;
        }
        let start = self.records.partition_point(|record| record.seq < from);
        Some(self.records.range(start..).take(limit).cloned().collect())
    }
}

impl Shared {
    pub(crate) fn last(&self) -> Seq {
        *self.last.borrow()
    }

    pub(crate) fn first(&self) -> Seq {
        let archived = self.archive.as_ref().and_then(Archive::first);
        archived.unwrap_or_else(|| self.hot_first.load(Ordering::Acquire))
    }

    /// The oldest event that retention has left.
    pub(crate) fn oldest(&self) -> Seq {
        self.archive.as_ref().map_or(1, |archive| archive.pruned() + 1)
    }

    /// The gap from `first` to `last`; `None` if retention has removed all of these numbers.
    pub(crate) fn gap(&self, first: Seq, last: Seq) -> Option<Gap> {
        let first = first.max(self.oldest());
        if first > last {
            return None;
        }
        let unreadable = |archive: &Archive| archive.is_unreadable(first, last);
        let cause = if gap::undeclared(&[(first, last)], &self.skipped).is_empty() {
            GapCause::Skipped
        } else if self.archive.as_ref().is_some_and(unreadable) {
            GapCause::Unreadable
        } else {
            GapCause::Missing
        };
        Some(Gap { first, last, cause })
    }

    pub(crate) fn backend(&self) -> Option<Arc<dyn Backend>> {
        self.backend.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// Published records at or after `from`; `None` unless all of them are in memory.
    pub(crate) fn recent(&self, from: Seq, limit: usize) -> Option<Vec<Record>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).since(from, limit)
    }

    /// Up to `limit` published records at or after `from`, from memory, database or archive. Blocks.
    pub(crate) fn read(&self, from: Seq, limit: usize, on_unreadable: OnUnreadable) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        let mut from = from.max(1);
        while records.len() < limit {
            let missing = limit - records.len();
            let more = match self.recent(from, missing) {
                Some(more) => more,
                None => self.stored(from, missing, on_unreadable)?,
            };
            let Some(newest) = more.last() else { break };
            from = newest.seq + 1;
            records.extend(more);
        }
        Ok(records)
    }

    /// Some records at or after `from`, from archive or database; none only if there are none.
    fn stored(&self, from: Seq, limit: usize, on_unreadable: OnUnreadable) -> Result<Vec<Record>, ReadError> {
        loop {
            let last = self.last();
            if from > last {
                return Ok(Vec::new());
            }
            let hot_first = self.hot_first.load(Ordering::Acquire);
            if from < hot_first
                && let Some(archive) = &self.archive
            {
                let records = archive.read(from, limit, on_unreadable)?;
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            let records = self.hot(from.max(hot_first), last, limit)?;
            // Events may have moved to the archive during the scan and been deleted before they were read.
            if self.hot_first.load(Ordering::Acquire) == hot_first {
                return Ok(records);
            }
        }
    }

    fn hot(&self, from: Seq, last: Seq, limit: usize) -> Result<Vec<Record>, ReadError> {
        let backend = self.backend().ok_or(ReadError::Closed)?;
        let (mut records, mut damaged) = (Vec::new(), None);
        let scanned = backend.scan(&keys::event(from), &keys::event(last.saturating_add(1)), &mut |key, value| {
            match envelope::decode(value) {
                Some(linked) if Some(linked.record.seq) == keys::seq(key) => records.push(linked.record),
                _ => damaged = keys::seq(key),
            }
            damaged.is_none() && records.len() < limit
        });
        scanned.map_err(|cause| ReadError::Failed { cause })?;
        match damaged {
            // Records before the damage are still returned; the next read meets the damage first.
            Some(seq) if records.is_empty() => Err(ReadError::Damaged { seq }),
            _ => Ok(records),
        }
    }

    /// Removes archive files past retention at `now` (nanoseconds since the epoch); returns the number of events
    /// removed.
    pub(crate) fn prune(&self, now: u64) -> Result<u64, ReadError> {
        let Some(archive) = &self.archive else { return Ok(0) };
        if self.read_only.is_some() {
            return Ok(0);
        }
        let keep = u64::try_from(self.options.archive_keep.as_nanos()).unwrap_or(u64::MAX);
        let oldest = now.saturating_sub(keep);
        let needed_after = self.replay_after.load(Ordering::Acquire);
        archive.prune(|file: &Header, events_after| {
            let over = file.last_at < oldest || events_after >= self.options.archive_keep_events;
            over && file.last <= needed_after
        })
    }
}
