//! Opening a damaged journal.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use store::{Gap, GapCause, Journal, OpenError, OpenReport, Opened, Row};
use support::{
    append, assert_sound, everything, fill, follow, open, open_database, options, payloads, records_of, saving,
    set_mark, small_window, stream,
};
use tempfile::TempDir;

/// A directory around the journal's own, so that copies set aside are removed too.
struct Fixture {
    _outer: TempDir,
    dir: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("journal");
        Self { _outer: outer, dir }
    }

    fn copy_of(other: &Path) -> Self {
        let place = Self::new();
        copy(other, &place.dir);
        place
    }

    /// Every path beside the journal.
    fn beside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.parent().unwrap()).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| *path != self.dir).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = { (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name())) };
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

/// Changes the database directly.
fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let db = open_database(dir);
    change(&db);
    db.flush().unwrap();
}

fn event_key(seq: u64) -> Vec<u8> {
    [b"e".as_slice(), &seq.to_be_bytes()].concat()
}

async fn filled(place: &Fixture, count: u64) {
    let journal = open(&place.dir).journal;
    fill(&journal, "a", 0, count).await.unwrap();
    journal.close().await;
}

fn quiet(report: &OpenReport) -> OpenReport {
    OpenReport { took: report.took, ..OpenReport::default() }
}

#[tokio::test]
async fn a_last_record_torn_at_any_byte_is_cut_with_its_row() {
    let original = Fixture::new();
    let journal = open(&original.dir).journal;
    fill(&journal, "a", 0, 3).await.unwrap();
    let last = journal.append(append("b", 0, &["torn"], saving("row of b"))).await.unwrap();
    journal.close().await;
    let value = open_database(&original.dir).get(event_key(4)).unwrap().unwrap();
    assert!(value.ends_with(&[]) && value.len() == 72 + 1 + 4 + 4, "{}", value.len());
    for at in 0..value.len() {
        for flip in [false, true] {
            let place = Fixture::copy_of(&original.dir);
            tamper(&place.dir, |db| {
                let mut torn = value.to_vec();
                if flip {
                    torn[at] ^= 0x40;
                } else {
                    torn.truncate(at);
                }
                db.insert(event_key(4), torn).unwrap();
            });
            set_mark(&place.dir, 3);
            let Opened { journal, rows, behind, report } = open(&place.dir);
            let expected = OpenReport { cut: Some((4, 4)), uncertain: vec![(stream("b"), 0)], ..quiet(&report) };
            assert_eq!(report, expected, "byte {at}, flip {flip}");
            assert_eq!((rows.len(), behind.len(), journal.last()), (1, 0, 3));
            assert_eq!(payloads(&everything(&journal)), ["a-1", "a-2", "a-3"]);
            assert_sound(&journal);
            let again = journal.append(append("b", 0, &["again"], saving("x"))).await.unwrap();
            assert_eq!(again[0].seq, last[0].seq);
            journal.close().await;
            let reopened = open(&place.dir);
            assert_eq!(reopened.report, quiet(&reopened.report));
            assert_eq!(place.beside(), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test]
async fn a_missing_last_record_is_cut_and_older_streams_keep_their_version() {
    let place = Fixture::new();
    let journal = open(&place.dir).journal;
    fill(&journal, "a", 0, 3).await.unwrap();
    fill(&journal, "b", 0, 2).await.unwrap();
    journal.close().await;
    tamper(&place.dir, |db| {
        db.remove(event_key(5)).unwrap();
    });
    set_mark(&place.dir, 4);
    let Opened { journal, rows, behind, report } = open(&place.dir);
    let expected = OpenReport { cut: Some((5, 5)), uncertain: vec![(stream("b"), 1)], ..quiet(&report) };
    assert_eq!(report, expected);
    assert_eq!((rows.len(), behind), (1, vec![(stream("b"), 1)]));
    journal.append(append("b", 1, &["again"], saving("x"))).await.unwrap();
    assert_sound(&journal);
}

/// The event was returned to a caller, and perhaps to subscribers: a loss, and its number is not reused.
#[tokio::test]
async fn an_acknowledged_last_record_that_is_torn_is_a_loss() {
    for (torn, marked) in [(true, true), (false, true), (true, false)] {
        let place = Fixture::new();
        let journal = open(&place.dir).journal;
        fill(&journal, "a", 0, 3).await.unwrap();
        journal.append(append("b", 0, &["lost"], saving("row of b"))).await.unwrap();
        journal.close().await;
        tamper(&place.dir, |db| match torn {
            true => drop(db.insert(event_key(4), b"torn").unwrap()),
            false => drop(db.remove(event_key(4)).unwrap()),
        });
        if !marked {
            fs::write(place.dir.join("mark"), b"unreadable").unwrap();
        }
        let Opened { journal, rows, report, .. } = open(&place.dir);
        let aside = report.set_aside.clone();
        assert!(aside.is_some());
        assert_eq!(report, OpenReport { gaps: vec![(4, 4)], set_aside: aside, ..quiet(&report) });
        assert_eq!((rows.len(), journal.last()), (2, 4), "the row is whole, and as true as before");
        let next = journal.append(append("b", 1, &["next"], saving("x"))).await.unwrap();
        assert_eq!(next[0].seq, 5);
        let gap = Gap { first: 4, last: 4, cause: GapCause::Skipped };
        assert_eq!(follow(&journal, 1).await, (vec![1, 2, 3, 5], vec![gap]));
        journal.close().await;
        let reopened = open(&place.dir);
        assert_eq!(reopened.report, quiet(&reopened.report));
        assert_eq!(follow(&reopened.journal, 1).await, (vec![1, 2, 3, 5], vec![gap]));
    }
}

#[tokio::test]
async fn a_bad_record_in_the_middle_loses_only_itself() {
    for tampered in ["flipped", "missing", "exchanged"] {
        let place = Fixture::new();
        filled(&place, 9).await;
        tamper(&place.dir, |db| {
            let mut value = db.get(event_key(4)).unwrap().unwrap().to_vec();
            match tampered {
                "flipped" => {
                    value[70] ^= 1;
                    db.insert(event_key(4), value).unwrap();
                }
                "missing" => drop(db.remove(event_key(4)).unwrap()),
                _ => drop(db.insert(event_key(4), db.get(event_key(5)).unwrap().unwrap()).unwrap()),
            }
        });
        let Opened { journal, rows, report, .. } = open(&place.dir);
        let aside = report.set_aside.clone();
        let expected = OpenReport { gaps: vec![(4, 4)], set_aside: aside.clone(), ..quiet(&report) };
        assert_eq!(report, expected, "{tampered}");
        assert_eq!(place.beside(), [aside.unwrap()]);
        assert!(place.beside()[0].join("db").exists());
        assert_eq!(rows[0].bytes, b"a-9");
        let kept: Vec<_> = everything(&journal).iter().map(|record| record.seq).collect();
        assert_eq!(kept, [1, 2, 3, 5, 6, 7, 8, 9]);
        fill(&journal, "a", 9, 1).await.unwrap();
        let verification = journal.verify().unwrap();
        assert_eq!((verification.problems, verification.gaps), (vec![], vec![(4, 4)]));
        journal.close().await;
        // Reported once, not at every opening.
        let reopened = open(&place.dir);
        assert_eq!(reopened.report, quiet(&reopened.report));
        assert_eq!(reopened.journal.last(), 10);
    }
}

#[tokio::test]
async fn verifying_a_running_journal_finds_damage() {
    let place = Fixture::new();
    let journal = Journal::open(&place.dir, small_window()).unwrap().journal;
    fill(&journal, "a", 0, 45).await.unwrap();
    journal.close().await;
    let journal = Journal::open(&place.dir, small_window()).unwrap().journal;
    assert_sound(&journal);
    let files = fs::read_dir(place.dir.join("archive")).unwrap().map(|entry| entry.unwrap().path());
    // The note of what was pruned lies there too.
    let segment = files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let journal = {
        journal.close().await;
        Journal::open(&place.dir, small_window()).unwrap().journal
    };
    let problems = journal.verify().unwrap().problems;
    assert!(problems.len() == 1 && problems[0].contains("damaged"), "{problems:?}");
}

#[tokio::test]
async fn an_unreadable_row_is_set_aside_and_its_stream_reported() {
    let place = Fixture::new();
    filled(&place, 3).await;
    tamper(&place.dir, |db| {
        let key = [b"s\x01".as_slice(), b"a"].concat();
        let mut row = db.get(&key).unwrap().unwrap().to_vec();
        row[20] ^= 1;
        db.insert(key, row).unwrap();
    });
    let Opened { journal, rows, behind, report } = open(&place.dir);
    assert_eq!((rows, behind), (vec![], vec![(stream("a"), 3)]));
    assert_eq!(report.uncertain, [(stream("a"), 3)]);
    assert!(report.set_aside.is_some() && !report.lost);
    fill(&journal, "a", 3, 1).await.unwrap();
    assert_sound(&journal);
}

#[tokio::test]
async fn a_torn_generating_snapshot_is_removed() {
    let place = Fixture::new();
    filled(&place, 30).await;
    // Opening makes a snapshot of the log.
    open(&place.dir).journal.close().await;
    let snapshot = snapshots(&place.dir).pop().unwrap();
    let torn = place.dir.join("snap.00000000FFFFFFFF.generating");
    let bytes = fs::read(&snapshot).unwrap();
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    let opened = open(&place.dir);
    assert_eq!(opened.report, OpenReport { removed: vec![torn], ..quiet(&opened.report) });
    assert_eq!(opened.journal.last(), 30);
    assert_sound(&opened.journal);
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

#[tokio::test]
async fn a_damaged_snapshot_is_dropped_and_the_log_replayed() {
    let original = Fixture::new();
    filled(&original, 30).await;
    // Opening makes a snapshot of the log.
    open(&original.dir).journal.close().await;
    let snapshot = snapshots(&original.dir).pop().unwrap();
    let bytes = fs::read(&snapshot).unwrap();
    for damage in ["empty", "cut", "flipped"] {
        let place = Fixture::copy_of(&original.dir);
        let bytes = match damage {
            "empty" => vec![],
            "cut" => bytes[..bytes.len() - 3].to_vec(),
            _ => bytes.iter().map(|byte| byte ^ 0xff).collect(),
        };
        fs::write(place.dir.join(snapshot.file_name().unwrap()), bytes).unwrap();
        let opened = open(&place.dir);
        let aside = opened.report.set_aside.clone();
        let expected = OpenReport { snapshot_dropped: true, set_aside: aside, ..quiet(&opened.report) };
        assert_eq!(opened.report, expected, "{damage}");
        assert_eq!(opened.rows[0].bytes, b"a-30");
        assert_eq!(everything(&opened.journal).len(), 30);
        assert_sound(&opened.journal);
        assert!(opened.report.set_aside.unwrap().join(snapshot.file_name().unwrap()).exists());
    }
}

#[tokio::test]
async fn a_database_that_does_not_open_is_salvaged() {
    let place = Fixture::new();
    let journal = Journal::open(&place.dir, small_window()).unwrap().journal;
    fill(&journal, "a", 0, 40).await.unwrap();
    fill(&journal, "b", 0, 3).await.unwrap();
    journal.append(append("b", 3, &["end"], Row::Delete)).await.unwrap();
    journal.close().await;
    break_segments(&place.dir);
    let Opened { journal, rows, report, .. } = Journal::open(&place.dir, small_window()).unwrap();
    assert!(report.lost && report.set_aside.is_some(), "{report:?}");
    assert_eq!(rows.iter().map(|row| (&row.stream, row.version)).collect::<Vec<_>>(), [(&stream("a"), 40)]);
    let seqs: Vec<_> = everything(&journal).iter().map(|record| record.seq).collect();
    assert_eq!(seqs, (1..=44).collect::<Vec<_>>());
    assert!(journal.last() > 44 + 30, "above anything that could have been given: {}", journal.last());
    let next = journal.last() + 1;
    let records = journal.append(append("a", 40, &["goes on"], saving("on"))).await.unwrap();
    assert_eq!(records[0].seq, next);
    let verification = journal.verify().unwrap();
    assert_eq!((verification.problems, verification.gaps), (vec![], vec![(45, next - 1)]));
    let mut subscription = journal.subscribe(next);
    assert_eq!(payloads(&records_of(subscription.next().await.unwrap().unwrap())), ["goes on"]);
    let skipped = Gap { first: 45, last: next - 1, cause: GapCause::Skipped };
    assert_eq!(follow(&journal, 1).await.1, [skipped]);
    journal.close().await;
    let reopened = Journal::open(&place.dir, small_window()).unwrap();
    assert_eq!(reopened.report, quiet(&reopened.report));
    assert_eq!(reopened.journal.last(), next);
}

/// Makes every segment of the database unrecognisable to it, and leaves all other bytes unchanged.
fn break_segments(dir: &Path) {
    let mut bytes = fs::read(dir.join("db")).unwrap();
    for header in bytes.chunks_mut(512 << 10) {
        let length = header.len().min(20);
        header[..length].fill(0x5a);
    }
    fs::write(dir.join("db"), bytes).unwrap();
    for snapshot in snapshots(dir) {
        fs::remove_file(snapshot).unwrap();
    }
}

#[tokio::test]
async fn an_interrupted_salvage_starts_over() {
    let place = Fixture::new();
    filled(&place, 9).await;
    // The state after a kill between clearing the old database and finishing the new one.
    let aside = place.dir.with_extension("damaged-1");
    copy(&place.dir, &aside);
    fs::write(place.dir.join("salvaging"), aside.to_str().unwrap()).unwrap();
    fs::remove_file(place.dir.join("db")).unwrap();
    let opened = open(&place.dir);
    assert!(opened.report.lost);
    assert_eq!(opened.report.set_aside, Some(aside));
    assert_eq!((everything(&opened.journal).len(), opened.rows[0].version), (9, 9));
    opened.journal.close().await;
    let reopened = open(&place.dir);
    assert_eq!(reopened.report, quiet(&reopened.report));
}

#[tokio::test]
async fn a_database_without_its_newest_events_is_detected() {
    let place = Fixture::new();
    filled(&place, 200).await;
    let older = Fixture::copy_of(&place.dir);
    let journal = open(&place.dir).journal;
    fill(&journal, "a", 200, 50).await.unwrap();
    journal.close().await;
    // Intact files of an earlier time, except the mark.
    fs::copy(place.dir.join("mark"), older.dir.join("mark")).unwrap();
    let Opened { journal, rows, report, .. } = open(&older.dir);
    assert!(report.lost && report.set_aside.is_some(), "{report:?}");
    assert_eq!((rows[0].version, everything(&journal).len()), (200, 200));
    assert!(journal.last() > 250, "{}", journal.last());
}

#[tokio::test]
async fn damaged_database_settings_are_recreated() {
    let place = Fixture::new();
    filled(&place, 9).await;
    fs::write(place.dir.join("conf"), [0xff; 64]).unwrap();
    let opened = open(&place.dir);
    assert!(opened.report.snapshot_dropped && !opened.report.lost, "{:?}", opened.report);
    assert_eq!((opened.journal.last(), opened.rows[0].version), (9, 9));
    assert_sound(&opened.journal);
}

#[tokio::test]
async fn a_lost_database_continues_after_its_archive() {
    for lost in ["emptied", "deleted", "overwritten"] {
        let place = Fixture::new();
        let journal = Journal::open(&place.dir, small_window()).unwrap().journal;
        fill(&journal, "a", 0, 40).await.unwrap();
        journal.close().await;
        let archived = Journal::open(&place.dir, small_window()).unwrap().journal.first();
        assert_eq!(archived, 1);
        let log = place.dir.join("db");
        match lost {
            "emptied" => fs::write(&log, b"").unwrap(),
            "deleted" => fs::remove_file(&log).unwrap(),
            _ => fs::write(&log, vec![0x5a; fs::metadata(&log).unwrap().len() as usize]).unwrap(),
        }
        for snapshot in snapshots(&place.dir) {
            fs::remove_file(snapshot).unwrap();
        }
        let Opened { journal, rows, report, .. } = Journal::open(&place.dir, small_window()).unwrap();
        assert!(report.lost, "{lost}: {report:?}");
        assert_eq!(rows, []);
        assert!(journal.last() > 10_000);
        let events = everything(&journal);
        assert!(events.len() >= 10 && events.iter().zip(1..).all(|(record, seq)| record.seq == seq));
        journal.append(append("new", 0, &["x"], Row::Keep)).await.unwrap();
        assert_eq!(journal.verify().unwrap().problems, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_lost_format_file_is_written_again() {
    let place = Fixture::new();
    filled(&place, 3).await;
    fs::remove_file(place.dir.join("format")).unwrap();
    let opened = open(&place.dir);
    assert_eq!((opened.journal.last(), opened.report.clone()), (3, quiet(&opened.report)));
    assert_eq!(store::format_of(&place.dir).unwrap(), Some(1));
}

#[tokio::test]
async fn a_damaged_format_file_is_written_anew_from_the_database() {
    for damage in [b"".as_slice(), b"journal 1\nrecords 2\ncrc32c 00000000\n", &[0; 32], b"journal 1\nreco"] {
        let place = Fixture::new();
        filled(&place, 3).await;
        fs::write(place.dir.join("format"), damage).unwrap();
        assert_eq!(store::format_of(&place.dir).unwrap(), Some(1));
        let opened = open(&place.dir);
        assert_eq!(opened.report, OpenReport { format_rebuilt: true, ..quiet(&opened.report) });
        assert_eq!((opened.journal.last(), opened.rows[0].version), (3, 3));
        opened.journal.close().await;
        let reopened = open(&place.dir);
        assert_eq!(reopened.report, quiet(&reopened.report));
        assert_eq!(place.beside(), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_damaged_format_file_of_a_newer_journal_does_not_hide_that() {
    let place = Fixture::new();
    let newer = store::Options { format: 2, ..options() };
    Journal::open(&place.dir, newer).unwrap().journal.close().await;
    fs::write(place.dir.join("format"), b"").unwrap();
    let opened = open(&place.dir);
    assert!(opened.report.read_only.is_some(), "{:?}", opened.report);
    assert_eq!(fs::read(place.dir.join("format")).unwrap(), b"", "nothing is changed");
}

#[tokio::test]
async fn a_format_file_and_a_database_damaged_together_are_salvaged() {
    let place = Fixture::new();
    filled(&place, 9).await;
    fs::write(place.dir.join("format"), b"").unwrap();
    break_segments(&place.dir);
    let opened = open(&place.dir);
    assert!(opened.report.lost && opened.report.format_rebuilt, "{:?}", opened.report);
    assert_eq!(everything(&opened.journal).len(), 9);
}

#[tokio::test]
async fn an_error_of_the_machine_is_not_damage() {
    let place = Fixture::new();
    filled(&place, 3).await;
    let log = place.dir.join("db");
    fs::rename(&log, place.dir.join("elsewhere")).unwrap();
    fs::create_dir(&log).unwrap();
    let refused = Journal::open(&place.dir, options());
    assert!(matches!(refused, Err(OpenError::Fault(_))), "{refused:?}");
    assert_eq!(place.beside(), Vec::<PathBuf>::new());
    fs::remove_dir(&log).unwrap();
    fs::rename(place.dir.join("elsewhere"), log).unwrap();
    assert_eq!(open(&place.dir).journal.last(), 3);
}

/// For any damage to the bytes of the database: it opens, the events it returns are true, and no number is given
/// twice.
#[tokio::test]
async fn the_database_damaged_anywhere_is_repaired_or_replaced() {
    let original = Fixture::new();
    let journal = Journal::open(&original.dir, small_window()).unwrap().journal;
    for round in 0..15 {
        fill(&journal, "a", round * 4, 4).await.unwrap();
        fill(&journal, "b", round * 2, 2).await.unwrap();
        journal.append(append(&format!("c{round}"), 0, &["c"], Row::Delete)).await.unwrap();
    }
    let truth = everything(&journal);
    journal.close().await;
    let bytes = fs::read(original.dir.join("db")).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut lost, mut whole) = (0, 0);
    for round in 0..48_usize {
        let place = Fixture::copy_of(&original.dir);
        let at = end * (round / 2) / 24 + round % 7;
        let mut damaged = bytes.clone();
        if round % 2 == 0 {
            damaged.truncate(at);
        } else {
            damaged[at..(at + 48).min(bytes.len())].iter_mut().for_each(|byte| *byte ^= 0xa5);
        }
        fs::write(place.dir.join("db"), damaged).unwrap();
        let Opened { journal, rows, report, .. } = Journal::open(&place.dir, small_window()).unwrap();
        assert!(journal.last() >= truth.len() as u64, "{round} at {at}: {} {report:?}", journal.last());
        for record in everything(&journal) {
            assert_eq!(record, truth[usize::try_from(record.seq).unwrap() - 1], "{round} at {at}");
        }
        assert!(rows.iter().all(|row| row.bytes.ends_with(format!("-{}", row.version).as_bytes())));
        let verification = journal.verify().unwrap();
        assert_eq!(verification.problems, Vec::<String>::new(), "{round} at {at}: {report:?}");
        if report.lost {
            lost += 1;
            assert!(report.set_aside.is_some() && journal.last() > truth.len() as u64);
        }
        whole += u32::from(everything(&journal).len() == truth.len() && rows.len() == 2);
        let next = journal.last() + 1;
        let again = journal.append(append("new", 0, &["x"], Row::Keep)).await.unwrap();
        assert_eq!(again[0].seq, next);
        journal.close().await;
        let reopened = Journal::open(&place.dir, small_window()).unwrap();
        assert_eq!(reopened.report, quiet(&reopened.report), "{round} at {at}: after {report:?}");
        assert_eq!(reopened.journal.last(), next);
    }
    // Some damage must cause a loss and some must not; otherwise this test proves too little.
    assert!(lost > 0 && whole > 0, "{lost} lost, {whole} whole");
    println!("{lost} times put together anew, {whole} times without any loss");
}
