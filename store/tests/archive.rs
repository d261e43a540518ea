//! The archive: moving events there, reading archive and database as one, retention.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;
use store::{Gap, GapCause, Journal, Opened, Options, Record, Row, SubscriptionItem};
use support::{
    append, assert_sound, everything, fill, follow, open_database, options, records_of, saving, small_window, stream,
};

fn segments(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join("archive")) else { return vec![] };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

/// Appends until the archive has this many files: archiving runs beside appending.
async fn fill_until(journal: &Journal, dir: &Path, files: usize) -> u64 {
    while segments(dir).iter().filter(|name| name.ends_with(".seg")).count() < files {
        fill(journal, "a", journal.last(), 1).await.unwrap();
    }
    journal.last()
}

/// Waits until the archive has caught up: until then more than the window and a chunk are hot.
async fn settled(journal: &Journal) {
    while journal.last() + 1 - journal.first_hot() >= 30 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn archived_events_are_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small_window()).unwrap().journal;
    fill_until(&journal, dir.path(), 8).await;
    settled(&journal).await;
    // Archived events are deleted between appends.
    fill(&journal, "a", journal.last(), 10).await.unwrap();
    settled(&journal).await;
    let last = journal.last();
    assert!(last >= 100);
    for (from, limit) in [(1, usize::MAX), (5, 3), (9, 4), (78, 10), (last, 9)] {
        let expected: Vec<_> = (from..=last).take(limit).collect();
        assert_eq!(seqs(&journal.read(from, limit).unwrap()), expected, "{from}, {limit}");
    }
    assert_sound(&journal);
    let before = everything(&journal);
    journal.close().await;
    assert_eq!(segments(dir.path())[0], "00000000000000000001-00000000000000000010.seg");

    // At most the window and an incomplete chunk are hot.
    let db = open_database(dir.path());
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
    // A copy of the journal with archived events; its archive file is then put beside the still hot events.
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
async fn an_unreadable_archive_file_is_kept_and_reported() {
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
    settled(&journal).await;
    // Closing waits for background work.
    journal.close().await;
    let journal = Journal::open(dir.path(), options).unwrap().journal;
    // The amount of archiving before the close depends on the machine: no event is old yet, but there may be too many.
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
    assert_eq!(
        (opened.journal.first(), opened.journal.oldest(), opened.report.lost),
        (first + pruned, first + pruned, false)
    );
    assert_eq!(opened.report.missing, []);
    let (read, gaps) = follow(&opened.journal, 1).await;
    assert_eq!((read.first(), gaps), (Some(&(first + pruned)), vec![]), "what retention removed is no gap");
}

#[tokio::test]
async fn a_crash_of_retention_on_a_full_disk_keeps_the_record_of_removed_events() {
    for emptied in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let last = three_files(dir.path()).await;
        let _ = fs::remove_file(dir.path().join("pruned"));
        let (first, gone) = (dir.path().join("archive").join(&segments(dir.path())[0]), dir.path().join("archive"));
        let gone = gone.join(first.with_extension("gone").file_name().unwrap());
        fs::rename(&first, &gone).unwrap();
        if emptied {
            fs::write(&gone, "").unwrap();
        }
        // As long as there is no space for the note.
        fs::create_dir(dir.path().join("pruned.tmp")).unwrap();
        for noted in [false, false, true] {
            if noted {
                fs::remove_dir(dir.path().join("pruned.tmp")).unwrap();
            }
            let Opened { journal, report, .. } = Journal::open(dir.path(), small_window()).unwrap();
            assert_eq!((&report.missing, journal.oldest(), gone.exists()), (&vec![], 11, !noted));
            let (read, gaps) = follow(&journal, 1).await;
            assert_eq!((read, gaps), ((11..=last).collect(), vec![]));
            journal.close().await;
        }
        // A file that is lost later is distinguished from files that retention has removed.
        fs::remove_file(dir.path().join("archive").join(&segments(dir.path())[0])).unwrap();
        let opened = Journal::open(dir.path(), small_window()).unwrap();
        assert_eq!(opened.report.missing, [(11, 20)]);
    }
}

#[tokio::test]
async fn retention_removes_nothing_without_a_note() {
    let dir = tempfile::tempdir().unwrap();
    three_files(dir.path()).await;
    let options = Options { archive_keep: Duration::ZERO, ..small_window() };
    let journal = Journal::open(dir.path(), options).unwrap().journal;
    let (_, before) = (fs::remove_file(dir.path().join("pruned")), segments(dir.path()));
    // With a cause other than a full disk, other faults cannot be excluded.
    fs::create_dir(dir.path().join("pruned.tmp")).unwrap();
    let refused = journal.prune(u64::MAX).unwrap_err();
    assert!(matches!(&refused, store::ReadError::Io { action: "write", .. }), "{refused:?}");
    assert_eq!((segments(dir.path()), journal.oldest()), (before, 1));
}

/// Makes a closed journal with an archive of three files and some hot events.
async fn three_files(dir: &Path) -> u64 {
    let journal = Journal::open(dir, small_window()).unwrap().journal;
    let last = fill_until(&journal, dir, 3).await;
    journal.close().await;
    // Also deletes events that closing has left to the next opening.
    let db = open_database(dir);
    (1..=30_u64).for_each(|seq| drop(db.remove([b"e".as_slice(), &seq.to_be_bytes()].concat()).unwrap()));
    last
}

#[tokio::test]
async fn a_missing_archive_file_is_reported_and_is_a_gap_for_followers() {
    for (files, gap) in [(0..1, (1, 10)), (1..2, (11, 20)), (2..3, (21, 30)), (0..2, (1, 20)), (0..3, (1, 30))] {
        let dir = tempfile::tempdir().unwrap();
        let last = three_files(dir.path()).await;
        let names = segments(dir.path());
        for name in &names[files.clone()] {
            fs::remove_file(dir.path().join("archive").join(name)).unwrap();
        }
        // Reported at every opening, not only at the first.
        for _ in 0..2 {
            let Opened { journal, report, rows, .. } = Journal::open(dir.path(), small_window()).unwrap();
            assert_eq!((&*report.missing, &report.set_aside), ([gap].as_slice(), &None), "{files:?}: {report:?}");
            assert_eq!(rows[0].version, last);
            let (read, gaps) = follow(&journal, journal.oldest()).await;
            let left: Vec<_> = (1..=last).filter(|seq| *seq < gap.0 || *seq > gap.1).collect();
            assert_eq!((read, gaps), (left, vec![Gap { first: gap.0, last: gap.1, cause: GapCause::Missing }]));
            journal.close().await;
        }
    }
}

#[tokio::test]
async fn a_beginning_that_is_missing_without_a_note_is_reported_once() {
    for note in [None, Some([0; 12])] {
        let dir = tempfile::tempdir().unwrap();
        let last = three_files(dir.path()).await;
        let path = dir.path().join("pruned");
        fs::remove_file(&path).unwrap();
        note.inspect(|damaged| fs::write(&path, damaged).unwrap());
        let remove_first = || fs::remove_file(dir.path().join("archive").join(&segments(dir.path())[0])).unwrap();
        remove_first();
        for missing in [vec![(1, 10)], vec![], vec![]] {
            let Opened { journal, report, .. } = Journal::open(dir.path(), small_window()).unwrap();
            assert_eq!((report.missing, journal.oldest()), (missing, 11));
            let (read, gaps) = follow(&journal, 1).await;
            assert_eq!((read, gaps), ((11..=last).collect(), vec![]));
            journal.close().await;
        }
        // Events lost from then on are not a missing beginning.
        remove_first();
        for _ in 0..2 {
            let Opened { journal, report, .. } = Journal::open(dir.path(), small_window()).unwrap();
            assert_eq!(report.missing, [(11, 20)]);
            journal.close().await;
        }
    }
}

#[tokio::test]
async fn a_missing_beginning_that_a_state_needs_is_not_noted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small_window()).unwrap().journal;
    journal.append(append("behind", 0, &["1"], saving("at 1"))).await.unwrap();
    journal.append(append("behind", 1, &["2"], Row::Keep)).await.unwrap();
    let mut version = 0;
    while segments(dir.path()).len() < 3 {
        fill(&journal, "last", version, 1).await.unwrap();
        version += 1;
    }
    journal.close().await;
    fs::remove_file(dir.path().join("pruned")).unwrap();
    fs::remove_file(dir.path().join("archive").join(&segments(dir.path())[0])).unwrap();
    for _ in 0..2 {
        let Opened { journal, report, .. } = Journal::open(dir.path(), small_window()).unwrap();
        assert!(report.missing.first().is_some_and(|(first, _)| *first == 1), "{report:?}");
        journal.close().await;
    }
}

#[tokio::test]
async fn a_lost_archive_is_reported_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    three_files(dir.path()).await;
    fs::remove_dir_all(dir.path().join("archive")).unwrap();
    let opened = Journal::open(dir.path(), small_window()).unwrap();
    assert_eq!(opened.report.missing, [(1, 30)]);
}

#[tokio::test]
async fn exchanged_archive_files_are_detected() {
    let dir = tempfile::tempdir().unwrap();
    let last = three_files(dir.path()).await;
    let place = |index: usize| dir.path().join("archive").join(&segments(dir.path())[index]);
    let (first, second) = (fs::read(place(0)).unwrap(), fs::read(place(1)).unwrap());
    fs::write(place(0), second).unwrap();
    fs::write(place(1), first).unwrap();
    let opened = Journal::open(dir.path(), small_window()).unwrap();
    assert_eq!(opened.report.unreadable_archives, [place(0), place(1)]);
    assert_eq!(opened.report.missing, [(1, 20)]);
    assert_eq!(seqs(&everything(&opened.journal)), (21..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_archive_file_of_another_journal_is_detected() {
    // Same numbers, same length, other events.
    let foreign = tempfile::tempdir().unwrap();
    let journal = Journal::open(foreign.path(), Options { boot: [8; 16], ..small_window() }).unwrap().journal;
    fill_until(&journal, foreign.path(), 3).await;
    journal.close().await;
    for index in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let last = three_files(dir.path()).await;
        let name = &segments(dir.path())[index];
        let path = dir.path().join("archive").join(name);
        fs::copy(foreign.path().join("archive").join(name), &path).unwrap();
        let opened = Journal::open(dir.path(), small_window()).unwrap();
        let gap = (10 * index as u64 + 1, 10 * index as u64 + 10);
        assert_eq!(opened.report.unreadable_archives, std::slice::from_ref(&path), "{index}");
        assert_eq!((&*opened.report.missing, opened.report.lost), ([gap].as_slice(), false));
        let (read, gaps) = follow(&opened.journal, 1).await;
        assert_eq!(read, (1..=last).filter(|seq| *seq < gap.0 || *seq > gap.1).collect::<Vec<_>>());
        assert_eq!(gaps, [Gap { first: gap.0, last: gap.1, cause: GapCause::Missing }]);
        opened.journal.close().await;
        assert!(path.exists(), "it stays where it is");
        let refused = store::rewrite(dir.path(), &dir.path().join("new"), 1, Ok).unwrap_err().to_string();
        assert!(refused.contains("not the one that was written"), "{refused}");
    }
}

#[tokio::test]
async fn an_unreadable_archive_file_is_skipped_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let last = three_files(dir.path()).await;
    let path = dir.path().join("archive").join(&segments(dir.path())[1]);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let journal = Journal::open(dir.path(), small_window()).unwrap().journal;
    let (read, gaps) = follow(&journal, 1).await;
    assert_eq!(read, (1..=10).chain(21..=last).collect::<Vec<_>>());
    assert_eq!(gaps, [Gap { first: 11, last: 20, cause: GapCause::Unreadable }]);
    // A subscriber that begins inside the gap gets the rest of it.
    let mut subscription = journal.subscribe(15);
    let first = subscription.next().await.unwrap().unwrap();
    assert_eq!(first, SubscriptionItem::Gap(Gap { first: 15, last: 20, cause: GapCause::Unreadable }));
}

#[tokio::test]
async fn events_that_a_row_needs_are_not_pruned() {
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
                    seen.extend(seqs(&records_of(records.unwrap())));
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
async fn a_subscription_waits_for_future_events() {
    let journal = Journal::in_memory(options()).unwrap();
    let mut subscription = journal.subscribe(3);
    fill(&journal, "a", 0, 2).await.unwrap();
    let next = tokio::spawn(async move { (subscription.next().await, subscription) });
    fill(&journal, "a", 2, 1).await.unwrap();
    let (records, mut subscription) = next.await.unwrap();
    assert_eq!(seqs(&records_of(records.unwrap().unwrap())), [3]);
    assert_eq!(subscription.position(), 4);
    journal.close().await;
    assert!(subscription.next().await.is_none());
}
