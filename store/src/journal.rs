//! The handle of an open journal.

use crate::archive::OnUnreadable;
use crate::history::{self, Request};
use crate::mark::Mark;
use crate::open::Loaded;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::space::Space;
use crate::writer::{Job, Writer};
use crate::{
    Append, AppendError, Fault, OpenError, Opened, Options, ReadError, Record, Seq, Subscription, Verification, open,
    verify,
};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

/// An open journal. Clones share the same journal; it closes when the last clone is dropped, or with
/// [`Journal::close`].
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    jobs: Arc<Queue<Job>>,
    requests: Arc<Queue<Request>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in `dir`, creating it if there is none, and repairs damage as far as possible. Blocks.
    ///
    /// Damaged data is copied aside before it is removed. A journal of a newer format is opened read-only, see
    /// [`crate::OpenReport::read_only`].
    pub fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
        open::open(dir, options)
    }

    /// A journal that exists only in memory; same writer, same rules, no archive.
    pub fn in_memory(options: Options) -> io::Result<Self> {
        let (shared, loaded) = open::in_memory(options);
        Self::start(shared, loaded, None)
    }

    pub(crate) fn start(shared: Shared, loaded: Loaded, disk: Option<(Space, Mark)>) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let (jobs, requests) = (Arc::new(Queue::new()), Arc::new(Queue::new()));
        let history = thread::Builder::new().name("journal-history".into()).spawn(history::task(
            shared.clone(),
            requests.clone(),
            jobs.clone(),
        ))?;
        let writer = Writer {
            backend: shared.backend().expect("the journal is just being opened"),
            shared: shared.clone(),
            jobs: jobs.clone(),
            requests: requests.clone(),
            history: Some(history),
            disk,
            streams: loaded.streams,
            last: loaded.last,
            hash: loaded.hash,
            trim: loaded.trim,
            archiving: false,
            archive_after: 0,
            pruned_at: None,
            fault: None,
        };
        let spawned = thread::Builder::new().name("journal-writer".into()).spawn({
            let (shared, jobs) = (shared.clone(), jobs.clone());
            move || {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| writer.run())) {
                    let message = crate::error::panic_message(panic.as_ref());
                    shared.fault.send_replace(Some(Fault::Panicked { message }));
                    shared.closed.send_replace(true);
                    shared.last.send_modify(|_| ());
                    jobs.close();
                    // Dropping the replies reports the fault to the callers.
                    let _ = jobs.take_now(usize::MAX);
                }
            }
        });
        let writer = spawned.inspect_err(|_| requests.close())?;
        Ok(Self { inner: Arc::new(Inner { shared, jobs, requests, writer: Mutex::new(Some(writer)) }) })
    }

    /// Appends to one stream. When it returns, the events and the row are durable, `on_durable` has run, and
    /// [`Journal::last`] includes them.
    ///
    /// A caller that stops waiting does not undo the append.
    pub async fn append(&self, append: Append) -> Result<Vec<Record>, AppendError> {
        let (reply, answer) = oneshot::channel();
        if self.inner.jobs.push(Job::Append(append, reply)).is_err() {
            return Err(self.closed_error());
        }
        answer.await.unwrap_or_else(|_| Err(self.closed_error()))
    }

    fn closed_error(&self) -> AppendError {
        self.inner.shared.fault().map_or(AppendError::Closed, |cause| AppendError::Failed { cause })
    }

    /// The newest durable event; 0 when there is none yet.
    pub fn last(&self) -> Seq {
        self.inner.shared.last()
    }

    /// The oldest event that can still be read, from the archive if there is one.
    pub fn first(&self) -> Seq {
        self.inner.shared.first()
    }

    /// The oldest event that retention has left. [`Journal::first`] is later if older ones are missing.
    pub fn oldest(&self) -> Seq {
        self.inner.shared.oldest()
    }

    /// The oldest event that is read from the database; earlier ones are in the archive.
    pub fn first_hot(&self) -> Seq {
        self.inner.shared.hot_first.load(Ordering::Acquire)
    }

    /// Up to `limit` events at or after `from`, from the archive and the database as one sequence. Fewer only if there
    /// are no more. Fails at a damaged record or an unreadable archive file. Blocks.
    pub fn read(&self, from: Seq, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.shared.read(from, limit, OnUnreadable::Fail)
    }

    /// Follows the journal: first the history at or after `from`, then new events, without a gap in between.
    pub fn subscribe(&self, from: Seq) -> Subscription {
        Subscription::new(self.inner.shared.clone(), self.inner.requests.clone(), from)
    }

    /// Waits until the journal has become unusable and returns the fault. Only a restart of the process opens it
    /// again.
    pub async fn failed(&self) -> Fault {
        let mut faults = self.inner.shared.fault.subscribe();
        let fault = faults.wait_for(Option::is_some).await;
        fault.ok().and_then(|fault| fault.clone()).expect("this handle keeps the sender alive")
    }

    /// Reads all events, hot and archived, and checks checksums, order, the hash chain, and that the rows agree with
    /// the events. Blocks, possibly for seconds.
    pub fn verify(&self) -> Result<Verification, ReadError> {
        verify::verify(&self.inner.shared)
    }

    /// Removes archive files that are past retention at `now` (nanoseconds since the epoch) and returns the number of
    /// events removed. Events that a row still needs stay. Archiving prunes as well.
    pub fn prune(&self, now: u64) -> Result<u64, ReadError> {
        self.inner.shared.prune(now)
    }

    /// Serves queued appends, makes all changes durable, and releases files and locks. Later appends are rejected.
    pub async fn close(&self) {
        self.inner.jobs.close();
        let mut closed = self.inner.shared.closed.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = closed.wait_for(|closed| *closed).await;
        self.inner.join();
    }
}

impl Inner {
    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.thread().id() != thread::current().id()
        {
            // A panic has been reported as the journal's fault.
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs.close();
        self.join();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("first", &self.first()).field("last", &self.last()).finish_non_exhaustive()
    }
}
