//! The consequences of a panic.
//!
//! A panic is a bug. Where a caller waits for the work and turns its end into an answer or an outcome, it costs that
//! work alone: work that is [`contained`], the threads for blocking work, and those of the journal's database, whose
//! owner reports it. A panic anywhere else leaves unfinished work without an owner, down to a daemon that does not
//! answer. It ends the process at once: the containers run on, and the next daemon recovers.

use std::cell::Cell;
use std::panic::PanicHookInfo;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::RuntimeMetrics;

/// Threads that poll tasks.
const WORKER: &str = "isulad-worker";
/// Threads for blocking work: its caller gets the panic as an error.
const BLOCKING: &str = "isulad-block";

/// The runtime has its workers: threads that are started from now on are for blocking work.
static HAS_WORKERS: AtomicBool = AtomicBool::new(false);
/// The journal is being opened. A damaged database may panic on any of its threads; then it is repaired.
static OPENING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CONTAINED: Cell<usize> = const { Cell::new(0) };
}

/// The name of the next thread of the runtime.
pub fn thread_name() -> String {
    if HAS_WORKERS.load(Ordering::Relaxed) { BLOCKING } else { WORKER }.to_owned()
}

/// To be called when the runtime is built and before it has any work. Waits until each worker has run: until then a thread
/// that is started for blocking work may become a worker under the other name, and the reverse.
pub fn workers_are_started(runtime: &RuntimeMetrics) {
    while (0..runtime.num_workers()).any(|worker| runtime.worker_park_count(worker) == 0) {
        thread::sleep(Duration::from_micros(100));
    }
    HAS_WORKERS.store(true, Ordering::Relaxed);
}

/// From now on an uncontained panic ends the process.
pub fn install() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        if !survives() {
            end(info);
        }
    }));
}

fn survives() -> bool {
    if CONTAINED.get() > 0 {
        return true;
    }
    let current = thread::current();
    match current.name() {
        Some(BLOCKING) => true,
        // Opening catches it; the writer's end is the journal's fault, with which the daemon stops.
        Some("journal-open" | "journal-writer") => true,
        // Joined by its starter.
        Some("netns") => true,
        // An optimisation that a start does without.
        Some("cgroup-moves") => true,
        // The database's own threads.
        Some(_) => OPENING.load(Ordering::Relaxed),
        None => false,
    }
}

fn end(info: &PanicHookInfo<'_>) -> ! {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    tracing::error!(
        place,
        "a panic that nothing can recover from: the daemon ends now, containers run on; start it again, and report this"
    );
    std::process::abort()
}

/// While it lives, a panic of the database's threads is left to the journal.
#[derive(Debug)]
pub struct Opening(());

impl Opening {
    #[expect(clippy::new_without_default, reason = "its making has an effect")]
    pub fn new() -> Self {
        OPENING.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        OPENING.store(false, Ordering::Relaxed);
    }
}

/// Work with a panic as a possible outcome: for tasks with an awaited and reported end.
pub async fn contained<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        let _mark = Mark::new();
        work.as_mut().poll(context)
    })
    .await
}

struct Mark;

impl Mark {
    fn new() -> Self {
        CONTAINED.set(CONTAINED.get() + 1);
        Self
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        CONTAINED.set(CONTAINED.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_contained_work_survives_on_a_worker() {
        // The test's own thread has some other name, as the database's have.
        let seen = tokio::spawn(async { (survives(), contained(async { survives() }).await, survives()) });
        assert_eq!(seen.await.unwrap(), (false, true, false));
        let opening = Opening::new();
        assert!(survives());
        drop(opening);
        // An unwinding panic leaves the counter as it was.
        let panicking = tokio::spawn(contained(async { panic!("as wanted") }));
        assert!(panicking.await.unwrap_err().is_panic());
        assert!(!survives());
    }

    #[test]
    fn threads_are_known_by_their_names() {
        let on = |name: &str| thread::Builder::new().name(name.to_owned()).spawn(survives).unwrap().join().unwrap();
        for name in [BLOCKING, "journal-open", "journal-writer", "netns"] {
            assert!(on(name), "{name}");
        }
        for name in [WORKER, "journal-history", "sled-io-0"] {
            assert!(!on(name), "{name}");
        }
    }
}
