//! The journal's guarantees without faults, on disk and in memory.

mod support;

use std::sync::{Arc, Mutex};
use store::{AppendError, Journal, NewEvent, OpenError, OpenReport, Options, Row, SavedRow, format_of};
use support::{append, assert_sound, event, everything, fill, open, options, payloads, saving, small_window, stream};

#[tokio::test]
async fn appended_events_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let report = OpenReport { took: opened.report.took, ..OpenReport::default() };
    assert_eq!((opened.rows, opened.behind, opened.report), (vec![], vec![], report));
    let journal = opened.journal;
    assert_eq!((journal.first(), journal.last()), (1, 0));
    let first = journal.append(append("a", 0, &["one", "two"], saving("state"))).await.unwrap();
    assert_eq!(first.iter().map(|record| (record.seq, record.version)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    let second = journal.append(append("b", 0, &["three"], Row::Keep)).await.unwrap();
    let record = &second[0];
    assert_eq!((record.seq, record.version, record.at, record.boot), (3, 1, 1_000, [7; 16]));
    assert_eq!((record.kind, record.schema, &*record.payload), (2, 3, b"three".as_slice()));
    journal.close().await;

    let opened = open(dir.path());
    let row = SavedRow { stream: stream("a"), version: 2, seq: 2, schema: 4, bytes: b"state".to_vec() };
    assert_eq!(opened.rows, [row]);
    assert_eq!(opened.behind, [(stream("b"), 1)]);
    assert_eq!(everything(&opened.journal), [first, second].concat());
    assert_sound(&opened.journal);
    // Both streams continue at their version, with a row and without.
    opened.journal.append(append("a", 2, &["four"], Row::Keep)).await.unwrap();
    opened.journal.append(append("b", 1, &["five"], saving("late"))).await.unwrap();
    assert_eq!(opened.journal.last(), 5);
    assert_sound(&opened.journal);
    drop(opened);
    let opened = open(dir.path());
    assert_eq!(opened.behind, [(stream("a"), 3)]);
    assert_eq!(opened.rows.iter().map(|row| row.version).collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn an_append_that_expects_another_version_is_refused() {
    let journal = Journal::in_memory(options()).unwrap();
    fill(&journal, "a", 0, 3).await.unwrap();
    for (expected, name, found) in [(2, "a", 3), (4, "a", 3), (1, "b", 0)] {
        match journal.append(append(name, expected, &["x"], Row::Keep)).await {
            Err(AppendError::Conflict { stream: of, expected: by, found: is }) => {
                assert_eq!((of, by, is), (stream(name), expected, found));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(journal.last(), 3);
}

#[tokio::test]
async fn a_stream_that_ended_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    journal.append(append("a", 0, &["1"], saving("s"))).await.unwrap();
    journal.append(append("a", 1, &["2"], Row::Keep)).await.unwrap();
    let without_event = journal.append(append("a", 2, &[], Row::Delete)).await;
    assert!(matches!(without_event, Err(AppendError::EndWithoutEvent { .. })), "{without_event:?}");
    let end = journal.append(append("a", 2, &["3", "4"], Row::Delete)).await.unwrap();
    assert_eq!(end.iter().map(|record| record.ends_stream).collect::<Vec<_>>(), [false, true]);
    journal.close().await;
    let opened = open(dir.path());
    assert_eq!((opened.rows, opened.behind), (vec![], vec![]));
    let again = opened.journal.append(append("a", 0, &["5"], saving("t"))).await.unwrap();
    assert_eq!((again[0].seq, again[0].version), (5, 1));
    assert_sound(&opened.journal);
}

#[tokio::test]
async fn a_row_can_change_without_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    fill(&journal, "a", 0, 2).await.unwrap();
    assert_eq!(journal.append(append("a", 2, &[], saving("again"))).await.unwrap(), []);
    assert_eq!(journal.append(append("plain", 0, &[], saving("record"))).await.unwrap(), []);
    journal.close().await;
    let rows = open(dir.path()).rows;
    let seen: Vec<_> = rows.iter().map(|row| (&row.bytes[..], row.version, row.seq)).collect();
    assert_eq!(seen, [(b"again".as_slice(), 2, 2), (b"record".as_slice(), 0, 2)]);
}

#[tokio::test]
async fn a_value_of_4_kb_is_refused() {
    let journal = Journal::in_memory(options()).unwrap();
    // 72 bytes of envelope, 1 of stream id, 4 of checksum.
    let sized = |size: usize| NewEvent { payload: vec![0; size - 77], ..event("") };
    let mut largest = append("a", 0, &[], Row::Keep);
    largest.events = vec![sized(4095)];
    journal.append(largest).await.unwrap();
    let mut larger = append("a", 1, &[], Row::Keep);
    larger.events = vec![event("fits"), sized(4096)];
    let refused = journal.append(larger).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { size: 4096, limit: 4096, .. })), "{refused:?}");
    let refused = journal.append(append("a", 1, &["fits"], saving(&"x".repeat(4096)))).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    assert_eq!(journal.last(), 1);
}

#[tokio::test]
async fn callbacks_run_in_journal_order_around_publication() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..32)
        .map(|caller| {
            let (journal, seen) = (journal.clone(), seen.clone());
            tokio::spawn(async move {
                for version in 0..20 {
                    let seen = seen.clone();
                    let mut append = append(&format!("s{caller}"), version, &["x", "y"].map(|x| x), Row::Keep);
                    append.expected = version * 2;
                    let reader = journal.clone();
                    append.on_durable = Some(Box::new(move |records| {
                        let own: Vec<_> = records.iter().map(|record| record.seq).collect();
                        assert!(reader.last() < own[0], "callbacks run before readers");
                        Some(Box::new(move || {
                            let read = reader.read(own[0], own.len()).unwrap();
                            assert!(
                                read.iter().map(|record| record.seq).eq(own.iter().copied()),
                                "the events can be read"
                            );
                            seen.lock().unwrap().extend(own);
                        }))
                    }));
                    let records = journal.append(append).await.unwrap();
                    assert!(journal.last() >= records[1].seq);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), (1..=32 * 20 * 2).collect::<Vec<_>>());
    assert_sound(&journal);
}

#[tokio::test]
async fn a_conflict_in_a_batch_rejects_only_itself() {
    // The first sync blocks the writer until the other appends are queued, so that they form one batch.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let before_sync: store::SyncProbe = Arc::new(move || {
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    let journal = Journal::in_memory(Options { before_sync: Some(before_sync), ..options() }).unwrap();
    let order = [("a", 0), ("a", 1), ("a", 1), ("b", 0), ("a", 2), ("b", 7)];
    let mut waiting: Vec<_> = order
        .iter()
        .map(|(name, expected)| Box::pin(journal.append(append(name, *expected, &["x"], Row::Keep))))
        .collect();
    for future in &mut waiting {
        // One poll puts it into the queue.
        assert!(futures_poll(future).is_none());
    }
    drop(release);
    let mut results = Vec::new();
    for future in waiting {
        results.push(future.await.map(|records| records[0].seq).map_err(|error| error.to_string()));
    }
    let conflict = |name, expected, found| {
        Err(format!("stream `1/{name}` has moved on: expected version {expected}, found {found}"))
    };
    assert_eq!(results, [Ok(1), Ok(2), conflict("a", 1, 2), Ok(3), Ok(4), conflict("b", 7, 1)]);
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let second = Journal::open(dir.path(), options());
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    fill(&journal, "a", 0, 1).await.unwrap();
    journal.close().await;
    assert_eq!(open(dir.path()).journal.last(), 1);
}

#[tokio::test]
async fn an_append_to_a_closed_journal_is_rejected() {
    let journal = Journal::in_memory(options()).unwrap();
    let queued = journal.append(append("a", 0, &["x"], Row::Keep));
    let mut queued = Box::pin(queued);
    // On a busy machine the writer may have served it by then.
    let polled = futures_poll(&mut queued);
    journal.close().await;
    let served = if let Some(served) = polled { served } else { queued.await };
    assert_eq!(served.unwrap().len(), 1, "what was queued before is served");
    let late = journal.append(append("a", 1, &["x"], Row::Keep)).await;
    assert!(matches!(late, Err(AppendError::Closed)), "{late:?}");
    journal.close().await;
}

#[tokio::test]
async fn a_read_begins_and_ends_at_the_requested_positions() {
    let journal = Journal::in_memory(options()).unwrap();
    fill(&journal, "a", 0, 10).await.unwrap();
    assert_eq!(payloads(&journal.read(3, 2).unwrap()), ["a-3", "a-4"]);
    assert_eq!(payloads(&journal.read(0, 1).unwrap()), ["a-1"]);
    assert_eq!(payloads(&journal.read(10, 5).unwrap()), ["a-10"]);
    assert_eq!((journal.read(11, 5).unwrap(), journal.read(1, 0).unwrap()), (vec![], vec![]));
}

#[tokio::test]
async fn the_format_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(format_of(dir.path()).unwrap(), None);
    drop(Journal::open(dir.path(), Options { format: 3, ..small_window() }).unwrap());
    assert_eq!(format_of(dir.path()).unwrap(), Some(3));
    let older = Journal::open(dir.path(), Options { format: 4, ..options() });
    assert!(matches!(older, Err(OpenError::OlderFormat { found: 3, known: 4, .. })), "{older:?}");
}
