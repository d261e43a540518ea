//! The thread that reads and writes the archive, so that neither the writer nor an async task waits for old files.

use crate::archive::OnUnreadable;
use crate::envelope::{self, Linked};
use crate::queue::{Queue, Taken};
use crate::shared::Shared;
use crate::writer::Job;
use crate::{ReadError, Record, Seq, keys};
use std::sync::Arc;
use tokio::sync::oneshot;
use tracing::{debug, warn};

pub(crate) enum Request {
    /// Read for a subscription.
    Read { from: Seq, limit: usize, reply: oneshot::Sender<Result<Vec<Record>, ReadError>> },
    /// Move the hot events up to and including `last` to the archive, then prune as of `now`.
    Archive { last: Seq, now: u64 },
    /// Prune as of `now` alone, on a disk that is short of space.
    Prune { now: u64 },
}

/// Serves requests until the queue is closed.
pub(crate) fn run(shared: &Shared, requests: &Queue<Request>, writer: &Queue<Job>) {
    while let Taken::Jobs(jobs) = requests.take(1, 1) {
        for job in jobs {
            match job {
                Request::Read { from, limit, reply } => {
                    // The subscriber may have left.
                    let _ = reply.send(shared.read(from, limit, OnUnreadable::Skip));
                }
                Request::Archive { last, now } => {
                    let archived = archive(shared, last).inspect_err(|error| {
                        warn!(error = error as &dyn std::error::Error, last, "cannot archive old events")
                    });
                    // A closed queue means that the journal closes: the next opening finds the new file.
                    let _ = writer.push(Job::Archived(archived.is_ok().then_some(last)));
                    prune(shared, now);
                }
                Request::Prune { now } => prune(shared, now),
            }
        }
    }
}

fn prune(shared: &Shared, now: u64) {
    match shared.prune(now) {
        Ok(0) => {}
        Ok(events) => debug!(events, "pruned the archive"),
        Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot prune the archive"),
    }
}

fn archive(shared: &Shared, last: Seq) -> Result<(), ReadError> {
    let (Some(archive), Some(backend)) = (&shared.archive, shared.backend()) else { return Ok(()) };
    let first = shared.hot_first.load(std::sync::atomic::Ordering::Acquire);
    let (mut records, mut damaged): (Vec<Linked>, _) = (Vec::new(), None);
    let scanned = backend.scan(&keys::event(first), &keys::event(last.saturating_add(1)), &mut |key, value| {
        match envelope::decode(value) {
            Some(linked) => records.push(linked),
            None => damaged = keys::seq(key),
        }
        damaged.is_none()
    });
    scanned.map_err(|cause| ReadError::Failed { cause })?;
    match damaged {
        Some(seq) => Err(ReadError::Damaged { seq }),
        None if records.is_empty() => Ok(()),
        None => archive.add(&records),
    }
}

/// The thread's work, as a closure that owns its data.
pub(crate) fn task(
    shared: Arc<Shared>,
    requests: Arc<Queue<Request>>,
    writer: Arc<Queue<Job>>,
) -> impl FnOnce() + Send {
    move || run(&shared, &requests, &writer)
}
