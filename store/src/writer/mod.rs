//! The one thread that assigns sequence numbers: take queued appends, check versions, one batch, one sync, publish,
//! wake.
//!
//! Nothing is published before it is durable, and nothing is retried: after a failed write or sync every further
//! append is rejected.

mod batch;

use crate::backend::{self, Backend, Changes};
use crate::envelope::Hash;
use crate::error::panic_message;
use crate::history::Request;
use crate::mark::Mark;
use crate::queue::{Queue, Taken};
use crate::record::OnReadable;
use crate::saved::{self, Meta};
use crate::shared::Shared;
use crate::space::{Room, Space};
use crate::{Append, AppendError, Fault, Record, Seq, StreamId, keys};
use batch::{Batch, Staged};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use tracing::{error, warn};

/// The largest number of appends in one batch.
const MAX_BATCH: usize = 256;
/// The largest number of archived events deleted between two batches: some milliseconds.
const TRIM_STEP: u64 = 64;

pub(crate) type Reply = oneshot::Sender<Result<Vec<Record>, AppendError>>;

pub(crate) enum Job {
    Append(Append, Reply),
    /// Events up to here are in the archive; `None`: archiving failed.
    Archived(Option<Seq>),
}

/// The writer's state of a living stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamState {
    pub(crate) version: u64,
    /// The row includes events up to here.
    pub(crate) row: Option<Seq>,
    /// The row is behind its events, and the stream's version is stored in its head.
    pub(crate) behind: bool,
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: Arc<Queue<Job>>,
    pub(crate) requests: Arc<Queue<Request>>,
    pub(crate) history: Option<JoinHandle<()>>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) disk: Option<(Space, Mark)>,
    pub(crate) streams: HashMap<StreamId, StreamState>,
    pub(crate) last: Seq,
    pub(crate) hash: Hash,
    /// Archived events that are still in the backend.
    pub(crate) trim: std::ops::Range<Seq>,
    pub(crate) archiving: bool,
    /// After a failure, archiving is not retried before this event.
    pub(crate) archive_after: Seq,
    /// The last event at the latest request to prune for space; the next request waits for a later event, whose time
    /// it needs.
    pub(crate) pruned_at: Option<Seq>,
    pub(crate) fault: Option<Fault>,
}

impl Writer {
    /// Serves until the queue is closed and empty, then releases files and locks.
    pub(crate) fn run(mut self) {
        let mut expected = 1;
        loop {
            let taken = if self.trim.is_empty() || self.fault.is_some() {
                self.jobs.take(MAX_BATCH, expected)
            } else {
                self.jobs.take_now(MAX_BATCH)
            };
            match taken {
                Taken::Jobs(jobs) => expected = self.serve(jobs),
                Taken::Nothing => expected = 1,
                Taken::Closed => break,
            }
            self.trim_a_little();
            self.archive_if_due();
            self.prune_if_short();
        }
        self.finish();
    }

    fn serve(&mut self, jobs: Vec<Job>) -> usize {
        let mut appends = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Append(append, reply) => appends.push((append, reply)),
                Job::Archived(last) => self.archived(last),
            }
        }
        let count = appends.len();
        if count > 0 {
            self.append(appends);
        }
        count
    }

    fn append(&mut self, appends: Vec<(Append, Reply)>) {
        let room = self.disk.as_mut().map_or(Room::Plenty, |(space, _)| space.check());
        let mut batch = Batch::new(self.last, self.hash, self.shared.options.boot);
        let mut accepted = Vec::with_capacity(appends.len());
        for (append, reply) in appends {
            let staged = self.admit(&append, room).and_then(|()| batch.stage(append, &mut self.streams));
            match staged {
                Ok(staged) => accepted.push((staged, reply)),
                Err(refusal) => answer(reply, Err(refusal)),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let (last, hash) = (batch.last, batch.hash);
        let mut changes = batch.changes;
        let meta = Meta { format: self.shared.options.format, last, hash };
        changes.put(keys::JOURNAL_HEAD.to_vec(), saved::encode_meta(meta));
        let backend = self.backend.clone();
        if let Err(fault) = guarded(move || backend::commit(&*backend, changes)) {
            self.fail(&fault);
            for (_, reply) in accepted {
                answer(reply, Err(AppendError::Failed { cause: fault.clone() }));
            }
            return;
        }
        (self.last, self.hash) = (last, hash);
        if let Some((_, mark)) = &self.disk
            && let Err(error) = mark.set(last)
        {
            // The mark is a precaution: a lower number only makes it weaker.
            warn!(%error, "cannot write the journal's mark");
        }
        self.publish(accepted);
    }

    fn admit(&mut self, append: &Append, room: Room) -> Result<(), AppendError> {
        if let Some(cause) = self.fault.clone() {
            return Err(AppendError::Failed { cause });
        }
        if let Some(newer) = self.shared.read_only {
            return Err(AppendError::ReadOnly { found: newer.found, known: newer.known });
        }
        let (Room::UrgentOnly, Some((space, _))) = (room, &mut self.disk) else { return Ok(()) };
        space.make_room(append.urgency).map_err(|free| AppendError::DiskFull { path: space.dir().into(), free })
    }

    /// Order: states first, then the records, then callers and listeners. A state is never older than the readable
    /// events, and an acknowledged event can be read.
    fn publish(&mut self, accepted: Vec<(Staged, Reply)>) {
        let mut replies = Vec::with_capacity(accepted.len());
        let mut next: Vec<OnReadable> = Vec::new();
        for (staged, reply) in accepted {
            if let Some(on_durable) = staged.on_durable {
                next.extend(self.call(|| on_durable(&staged.records)).flatten());
            }
            replies.push((staged.records, reply));
        }
        {
            let mut recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
            for record in replies.iter().flat_map(|(records, _)| records) {
                recent.push(record.clone());
            }
        }
        self.shared.last.send_replace(self.last);
        for on_readable in next {
            self.call(on_readable);
        }
        for (records, reply) in replies {
            answer(reply, Ok(records));
        }
    }

    /// Runs a caller's callback. If it panics, the records are durable, but the callback's work did not happen.
    fn call<T>(&mut self, code: impl FnOnce() -> T) -> Option<T> {
        guarded(|| Ok(code())).inspect_err(|fault| self.fail(fault)).ok()
    }

    fn fail(&mut self, fault: &Fault) {
        if self.fault.is_none() {
            error!(error = fault as &dyn std::error::Error, "the journal has failed and accepts no more events");
            self.fault = Some(fault.clone());
            self.shared.fault.send_replace(self.fault.clone());
            self.shared.last.send_modify(|_| ()); // Wakes subscribers that wait for events.
        }
    }

    fn archive_if_due(&mut self) {
        let options = &self.shared.options;
        let hot = (self.last + 1).saturating_sub(self.shared.hot_first.load(Ordering::Acquire));
        let due = hot >= options.hot_window.saturating_add(options.archive_chunk.max(1));
        let possible = self.shared.archive.is_some() && self.shared.read_only.is_none() && self.fault.is_none();
        if !due || !possible || self.last < self.archive_after || self.archiving || !self.trim.is_empty() {
            return;
        }
        if self.disk.as_mut().is_some_and(|(space, _)| space.check() != Room::Plenty) {
            return;
        }
        let last = self.shared.hot_first.load(Ordering::Acquire) + options.archive_chunk.max(1) - 1;
        let now = self.prunable();
        self.archiving = self.requests.push(Request::Archive { last, now }).is_ok();
    }

    /// Archiving prunes too, but it waits for space. Retention frees space, so it must not wait with it.
    fn prune_if_short(&mut self) {
        let possible = self.shared.archive.is_some() && self.shared.read_only.is_none() && self.fault.is_none();
        if !possible || self.archiving || self.pruned_at == Some(self.last) {
            return;
        }
        if self.disk.as_mut().is_some_and(|(space, _)| space.check() == Room::UrgentOnly) {
            let now = self.prunable();
            self.pruned_at = Some(self.last);
            // A closed queue means that the journal closes.
            let _ = self.requests.push(Request::Prune { now });
        }
    }

    /// Publishes the limit of retention, and returns the time to prune as of.
    fn prunable(&self) -> u64 {
        // The oldest row that needs later events to be current.
        let needed = self.streams.values().filter(|state| state.behind).filter_map(|state| state.row).min();
        self.shared.replay_after.store(needed.unwrap_or(Seq::MAX), Ordering::Release);
        self.shared.recent(self.last, 1).and_then(|records| Some(records.first()?.at)).unwrap_or(0)
    }

    fn archived(&mut self, last: Option<Seq>) {
        self.archiving = false;
        match last {
            Some(last) => {
                let first = self.shared.hot_first.swap(last + 1, Ordering::AcqRel);
                self.trim = first..last + 1;
            }
            None => self.archive_after = self.last + self.shared.options.archive_chunk,
        }
    }

    /// Deletes some archived events. Not synced: after a loss, opening does it again.
    fn trim_a_little(&mut self) {
        if self.trim.is_empty() || self.fault.is_some() {
            return;
        }
        let end = self.trim.end.min(self.trim.start + TRIM_STEP);
        let mut changes = Changes::default();
        for seq in self.trim.start..end {
            changes.delete(keys::event(seq));
        }
        let backend = self.backend.clone();
        match guarded(move || backend.apply(changes)) {
            Ok(()) => self.trim.start = end,
            Err(fault) => self.fail(&fault),
        }
    }

    fn finish(mut self) {
        self.requests.close();
        if let Some(history) = self.history.take()
            && history.join().is_err()
        {
            warn!("the journal's history thread had panicked");
        }
        let shared = self.shared.clone();
        let held = shared.backend.write().unwrap_or_else(PoisonError::into_inner).take();
        // The database flushes on drop, and panics when it cannot.
        let gone = guarded(move || {
            drop(held);
            drop(self);
            Ok(())
        });
        if let Err(fault) = gone {
            error!(error = &fault as &dyn std::error::Error, "the journal did not close cleanly");
        }
        shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.closed.send_replace(true);
        shared.last.send_modify(|_| ());
    }
}

fn answer(reply: Reply, result: Result<Vec<Record>, AppendError>) {
    // The caller may have left; the append stands.
    let _ = reply.send(result);
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Fault::Panicked { message: panic_message(panic.as_ref()) }))
}
