//! A failed sync, and panics of callers.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::{AppendError, Fault, Journal, Options, ReadError, Row, SyncProbe};
use support::{append, everything, fill, open, options, payloads, saving};

fn failing() -> (Arc<AtomicBool>, Arc<AtomicU64>, SyncProbe) {
    let (broken, syncs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let probe: SyncProbe = Arc::new({
        let (broken, syncs) = (broken.clone(), syncs.clone());
        move || {
            syncs.fetch_add(1, Ordering::SeqCst);
            if broken.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
        }
    });
    (broken, syncs, probe)
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let (broken, syncs, probe) = failing();
    let options = Options { before_sync: Some(probe), ..options() };
    let journal = Journal::open(dir.path(), options).unwrap().journal;
    fill(&journal, "a", 0, 2).await.unwrap();
    let mut follower = journal.subscribe(1);
    assert_eq!(support::records_of(follower.next().await.unwrap().unwrap()).len(), 2);

    broken.store(true, Ordering::SeqCst);
    let told = Arc::new(AtomicBool::new(false));
    let mut lost = append("a", 2, &["lost"], saving("lost"));
    lost.on_durable = Some(Box::new({
        let told = told.clone();
        move |_| {
            told.store(true, Ordering::SeqCst);
            None
        }
    }));
    match journal.append(lost).await {
        Err(AppendError::Failed { cause: Fault::Sync { path, source } }) => {
            assert_eq!((path, source.raw_os_error()), (dir.path().join("db"), Some(5)));
        }
        other => panic!("{other:?}"),
    }
    assert!(!told.load(Ordering::SeqCst));
    assert!(matches!(journal.failed().await, Fault::Sync { .. }));

    // The disk works again; this handle does not, and does not even try.
    broken.store(false, Ordering::SeqCst);
    let before = syncs.load(Ordering::SeqCst);
    let refused = journal.append(append("b", 0, &["x"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::Failed { .. })), "{refused:?}");
    assert_eq!(syncs.load(Ordering::SeqCst), before);
    assert!(matches!(follower.next().await, Some(Err(ReadError::Failed { .. }))));
    // Events that were durable before can be read, the others are not shown.
    assert_eq!((journal.last(), payloads(&everything(&journal))), (2, vec!["a-1".to_owned(), "a-2".to_owned()]));
    journal.close().await;
    drop(follower);

    // The event may be there or not, since it was never acknowledged; all earlier ones are there.
    let opened = open(dir.path());
    assert!((2..=3).contains(&opened.journal.last()));
    assert_eq!(opened.rows[0].version, opened.journal.last());
    support::assert_sound(&opened.journal);
}

#[tokio::test]
async fn a_panic_of_the_observer_stops_the_journal_but_not_the_process() {
    let journal = Journal::in_memory(options()).unwrap();
    let mut first = append("a", 0, &["x"], Row::Keep);
    first.on_durable = Some(Box::new(|_| panic!("the projection is broken")));
    assert_eq!(journal.append(first).await.unwrap().len(), 1, "it is durable all the same");
    match journal.failed().await {
        Fault::Panicked { message } => assert_eq!(message, "the projection is broken"),
        other => panic!("{other:?}"),
    }
    let refused = journal.append(append("a", 1, &["y"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::Failed { .. })), "{refused:?}");
}
