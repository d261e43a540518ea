//! The cold part of the journal: moving there, reading both as one, retention.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;
use store::{Journal, Options, Record, Row};
use support::{append, assert_sound, everything, fill, options, saving, small_window, stream};

fn segments(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join("archive")) else { return vec![] };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

/// Appends until the archive has as many files: moving goes on beside appending.
async fn fill_until(journal: &Journal, dir: &Path, files: usize) -> u64 {
    while segments(dir).iter().filter(|name| name.ends_with(".seg")).count() < files {
        fill(journal, "a", journal.last(), 1).await.unwrap();
    }
    journal.last()
}

#[tokio::test]
async fn old_events_move_to_the_archive_and_are_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small_window()).unwrap().journal;
    let last = fill_until(&journal, dir.path(), 8).await;
    assert!(last >= 100);
    for (from, limit) in [(1, usize::MAX), (5, 3), (9, 4), (78, 10), (last, 9)] {
        let expected: Vec<_> = (from..=last).take(limit).collect();
        assert_eq!(seqs(&journal.read(from, limit).unwrap()), expected, "{from}, {limit}");
    }
    assert_sound(&journal);
    let before = everything(&journal);
    journal.close().await;
    assert_eq!(segments(dir.path())[0], "00000000000000000001-00000000000000000010.seg");

    // What is hot is no more than the window and what was not yet due.
    let db = sled::open(dir.path()).unwrap();
    let hot = db.range(b"e".as_slice()..b"f".as_slice()).count();
    drop(db);
    assert!((20..=40).contains(&hot), "{hot}");

    let opened = Journal::open(dir.path(), small_window()).unwrap();
    assert_eq!(opened.rows[0].version, last);
    assert_eq!((opened.journal.first(), opened.journal.last()), (1, last));
    let archived = format!("{:020}", opened.journal.first_hot() - 1);
    assert_eq!(segments(dir.path()).last().map(|name| &name[21..41]), Some(&*archived));
    assert_eq!(everything(&opened.journal), before);
    assert_sound(&opened.journal);
}

#[tokio::test]
async fn a_crash_between_archiving_and_deleting_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options { hot_window: 1_000, ..small_window() }).unwrap().journal;
    fill(&journal, "a", 0, 35).await.unwrap();
    let before = everything(&journal);
    journal.close().await;
    // The same journal with an archive, whose file is then put beside events that are still hot.
    let other = tempfile::tempdir().unwrap();
    let twin = other.path().join("twin");
    store::rewrite(dir.path(), &twin, 1, Ok).unwrap();
    let journal = Journal::open(&twin, small_window()).unwrap().journal;
    fill_until(&journal, &twin, 1).await;
    journal.close().await;
    fs::create_dir(dir.path().join("archive")).unwrap();
    let name = &segments(&twin)[0];
    fs::copy(twin.join("archive").join(name), dir.path().join("archive").join(name)).unwrap();
    fs::write(dir.path().join("archive/00000000000000000011-00000000000000000020.tmp"), b"half").unwrap();

    let opened = Journal::open(dir.path(), Options { hot_window: 1_000, ..small_window() }).unwrap();
    assert!(opened.report.gaps.is_empty() && !opened.report.lost);
    assert_eq!(everything(&opened.journal), before);
    assert_sound(&opened.journal);
    opened.journal.append(append("b", 0, &["x"], Row::Keep)).await.unwrap();
    opened.journal.close().await;
    assert_eq!(segments(dir.path()), std::slice::from_ref(name), "the half-written file is gone");
    let opened = Journal::open(dir.path(), Options { hot_window: 1_000, ..small_window() }).unwrap();
    assert_eq!(everything(&opened.journal).len(), 36);
    assert_sound(&opened.journal);
}

#[tokio::test]
async fn an_unreadable_archive_file_stays_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small_window()).unwrap().journal;
    let last = fill_until(&journal, dir.path(), 3).await;
    journal.close().await;
    let path = dir.path().join("archive").join(&segments(dir.path())[1]);
    fs::write(&path, b"nonsense").unwrap();
    let opened = Journal::open(dir.path(), small_window()).unwrap();
    assert_eq!(opened.report.unreadable_archives, std::slice::from_ref(&path));
    assert_eq!(seqs(&everything(&opened.journal)), (1..=10).chain(21..=last).collect::<Vec<_>>());
    assert_eq!(opened.journal.verify().unwrap().gaps, [(11, 20)]);
    assert_eq!(fs::read(path).unwrap(), b"nonsense");
}

#[tokio::test]
async fn retention_goes_by_time_and_by_number() {
    let day = Duration::from_secs(86_400);
    let at = |days: u32| 1_000_000_000_u64 + (day * days).as_nanos() as u64;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { archive_keep: 10 * day, archive_keep_events: 25, ..small_window() };
    let journal = Journal::open(dir.path(), options.clone()).unwrap().journal;
    while journal.first() == 1 {
        let mut next = append("a", journal.last(), &["x"], saving("s"));
        next.at = at(0);
        journal.append(next).await.unwrap();
    }
    // Closing waits for what goes on in the background.
    journal.close().await;
    let journal = Journal::open(dir.path(), options).unwrap().journal;
    // What the background has come to before it was closed depends on the machine: nothing is old yet, but they may be too many.
    journal.prune(at(0)).unwrap();
    let (first, archived) = (journal.first(), 10 * segments(dir.path()).len() as u64);
    assert!((25..=34).contains(&archived), "as few files as hold 25 events: {archived}");
    assert_eq!(journal.prune(at(10)).unwrap(), 0);
    assert_eq!(journal.first(), first);
    let pruned = journal.prune(at(11)).unwrap();
    assert_eq!((pruned, segments(dir.path())), (archived, vec![]));
    assert_eq!(journal.first(), first + pruned);
    assert_eq!(seqs(&everything(&journal)), (first + pruned..=journal.last()).collect::<Vec<_>>());
    assert_sound(&journal);
    journal.close().await;
    let opened = Journal::open(dir.path(), small_window()).unwrap();
    assert_eq!((opened.journal.first(), opened.report.lost), (first + pruned, false));
}

#[tokio::test]
async fn what_a_row_still_needs_is_not_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { archive_keep: Duration::ZERO, ..small_window() };
    let journal = Journal::open(dir.path(), options).unwrap().journal;
    fill(&journal, "first", 0, 12).await.unwrap();
    journal.append(append("behind", 0, &["1"], saving("at 13"))).await.unwrap();
    journal.append(append("behind", 1, &["2"], Row::Keep)).await.unwrap();
    let mut version = 0;
    while segments(dir.path()).len() < 3 {
        fill(&journal, "last", version, 1).await.unwrap();
        version += 1;
    }
    journal.prune(u64::MAX).unwrap();
    assert_eq!(journal.first(), 11, "the file with event 14 stays, the one before it goes");
    journal.close().await;
    let opened = Journal::open(dir.path(), Options { archive_keep: Duration::ZERO, ..small_window() }).unwrap();
    assert_eq!(opened.behind, [(stream("behind"), 2)]);
    opened.journal.prune(u64::MAX).unwrap();
    assert_eq!(opened.journal.first(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_has_no_gap_while_events_are_appended_and_archived() {
    const EVENTS: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small_window()).unwrap().journal;
    fill(&journal, "before", 0, 100).await.unwrap();
    let followers: Vec<_> = [1, 50, 101, 400]
        .into_iter()
        .map(|from| {
            let mut subscription = journal.subscribe(from);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Some(records) = subscription.next().await {
                    seen.extend(seqs(&records.unwrap()));
                }
                assert_eq!(seen, (from..=100 + 4 * EVENTS).collect::<Vec<_>>());
            })
        })
        .collect();
    let appenders: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| {
            let journal = journal.clone();
            tokio::spawn(async move { fill(&journal, name, 0, EVENTS).await.unwrap() })
        })
        .collect();
    for appender in appenders {
        appender.await.unwrap();
    }
    journal.close().await;
    for follower in followers {
        follower.await.unwrap();
    }
}

#[tokio::test]
async fn a_subscription_waits_for_what_is_not_there_yet() {
    let journal = Journal::in_memory(options()).unwrap();
    let mut subscription = journal.subscribe(3);
    fill(&journal, "a", 0, 2).await.unwrap();
    let next = tokio::spawn(async move { (subscription.next().await, subscription) });
    fill(&journal, "a", 2, 1).await.unwrap();
    let (records, mut subscription) = next.await.unwrap();
    assert_eq!(seqs(&records.unwrap().unwrap()), [3]);
    assert_eq!(subscription.position(), 4);
    journal.close().await;
    assert!(subscription.next().await.is_none());
}
