//! Journals of another format: reading a newer one without touching it, rewriting an older one.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use store::{
    AppendError, Journal, NewerFormat, OpenError, Options, Record, RewriteError, Row, Stored, format_of, rewrite,
};
use support::{append, assert_sound, everything, fill, payloads, saving, small_window, stream};

fn format(format: u16) -> Options {
    Options { format, ..small_window() }
}

/// Every file below `dir`, with its bytes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            contents.extend(self::contents(&path));
        } else {
            contents.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    contents
}

/// Makes a journal with an archive, a stream behind its row, and an ended stream.
async fn filled(dir: &Path, options: Options) {
    let journal = Journal::open(dir, options).unwrap().journal;
    fill(&journal, "a", 0, 40).await.unwrap();
    journal.append(append("b", 0, &["b-1"], saving("b"))).await.unwrap();
    journal.append(append("b", 1, &["b-2"], Row::Keep)).await.unwrap();
    journal.append(append("c", 0, &["c-1", "c-2"], Row::Delete)).await.unwrap();
    let mut version = 40;
    while fs::read_dir(dir.join("archive")).map_or(0, Iterator::count) < 2 {
        fill(&journal, "a", version, 1).await.unwrap();
        version += 1;
    }
    journal.close().await;
}

#[tokio::test]
async fn a_newer_journal_is_read_and_not_touched() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("journal");
    filled(&dir, format(5)).await;
    // Left by a crash; removing it would be a change.
    fs::write(dir.join("snap.00000000FFFFFFFF.generating"), b"torn").unwrap();
    let before = contents(&dir);
    let opened = Journal::open(&dir, format(4)).unwrap();
    assert_eq!(opened.report.read_only, Some(NewerFormat { found: 5, known: 4 }));
    assert_eq!(opened.rows.len(), 2);
    assert_eq!(opened.behind, [(stream("b"), 2)]);
    let journal = opened.journal;
    assert_eq!(everything(&journal).len() as u64, journal.last());
    assert_sound(&journal);
    let refused = journal.append(append("d", 0, &["x"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::ReadOnly { found: 5, known: 4 })), "{refused:?}");
    assert_eq!(journal.prune(u64::MAX).unwrap(), 0);
    assert!(matches!(Journal::open(&dir, format(4)), Err(OpenError::Locked { .. })));
    journal.close().await;
    drop(journal);
    assert_eq!(contents(&dir), before);
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "the copy it was read from is gone");
    fs::remove_file(dir.join("snap.00000000FFFFFFFF.generating")).unwrap();
    assert_eq!(Journal::open(&dir, format(5)).unwrap().report.read_only, None);
}

#[tokio::test]
async fn the_content_of_a_newer_layout_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "journal 2\nrecords 9\ncrc32c c1df2778\n").unwrap();
    fs::write(dir.path().join("db"), "who knows").unwrap();
    let before = contents(dir.path());
    let opened = Journal::open(dir.path(), format(1)).unwrap();
    assert_eq!(opened.report.read_only, Some(NewerFormat { found: 9, known: 1 }));
    assert_eq!((opened.rows, opened.journal.last()), (vec![], 0));
    let refused = opened.journal.append(append("a", 0, &["x"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::ReadOnly { .. })), "{refused:?}");
    assert_eq!(contents(dir.path()), before);
}

/// The numbers of such a journal mean other shapes, so it is not even opened.
#[tokio::test]
async fn a_journal_of_a_build_before_the_release_is_refused_and_not_touched() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("journal");
    for (format, records) in [(1, 1), (2, 3), (9, 2)] {
        filled(&dir, self::format(format)).await;
        fs::write(dir.join("format"), format!("layout 1\nrecords {records}\n")).unwrap();
        let before = contents(outer.path());
        let refused = Journal::open(&dir, self::format(1)).unwrap_err();
        assert!(matches!(refused, OpenError::Unreleased { .. }), "{refused:?}");
        assert!(refused.to_string().ends_with("before the first release: move it elsewhere to begin a new one"));
        assert!(matches!(format_of(&dir), Err(OpenError::Unreleased { .. })));
        let rewritten = rewrite(&dir, &outer.path().join("new"), 2, Ok);
        assert!(matches!(rewritten, Err(RewriteError::Open(OpenError::Unreleased { .. }))), "{rewritten:?}");
        assert_eq!(contents(outer.path()), before);
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[tokio::test]
async fn rewriting_changes_payloads_and_nothing_else() {
    let outer = tempfile::tempdir().unwrap();
    let (old, new) = (outer.path().join("old"), outer.path().join("new"));
    filled(&old, format(1)).await;
    let before = contents(&old);
    let mut order = Vec::new();
    let done = rewrite(&old, &new, 2, |stored| {
        Ok(match stored {
            Stored::Record(record) => {
                order.push(record.seq);
                let payload = [b"new ".as_slice(), &record.payload].concat();
                Stored::Record(Record { schema: record.schema + 1, payload: payload.into(), ..record })
            }
            Stored::Row(mut row) => {
                row.bytes.push(b'!');
                Stored::Row(row)
            }
        })
    })
    .unwrap();
    assert_eq!(contents(&old), before);
    assert_eq!((done.rows, done.records), (2, done.last));
    assert_eq!(order, (1..=done.last).collect::<Vec<_>>());
    assert_eq!((format_of(&old).unwrap(), format_of(&new).unwrap()), (Some(1), Some(2)));
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);

    let (old, new) = (Journal::open(&old, format(1)).unwrap(), Journal::open(&new, format(2)).unwrap());
    assert_eq!(new.behind, [(stream("b"), 2)]);
    let expected = old.rows.iter().cloned().map(|mut row| {
        row.bytes.push(b'!');
        row
    });
    assert_eq!(new.rows, expected.collect::<Vec<_>>());
    let expected: Vec<_> = payloads(&everything(&old.journal)).iter().map(|text| format!("new {text}")).collect();
    assert_eq!(payloads(&everything(&new.journal)), expected);
    for (old, new) in everything(&old.journal).into_iter().zip(everything(&new.journal)) {
        assert_eq!(new, Record { schema: old.schema + 1, payload: new.payload.clone(), ..old });
    }
    assert_sound(&new.journal);
    let next = new.journal.append(append("b", 2, &["x"], saving("y"))).await.unwrap();
    assert_eq!(next[0].seq, done.last + 1);
    assert_sound(&new.journal);
}

#[tokio::test]
async fn rewriting_rejects_changes_that_would_break_the_journal() {
    let outer = tempfile::tempdir().unwrap();
    let old = outer.path().join("old");
    let new = |name: &str| outer.path().join(name);
    let missing = rewrite(&old, &new("1"), 2, Ok);
    assert!(matches!(missing, Err(RewriteError::Missing { .. })), "{missing:?}");
    filled(&old, format(1)).await;

    let failed = rewrite(&old, &new("2"), 2, |_| Err("no such shape".into()));
    assert!(matches!(failed, Err(RewriteError::Convert { .. })), "{failed:?}");
    let renumbered = rewrite(&old, &new("3"), 2, |stored| {
        Ok(match stored {
            Stored::Record(record) => Stored::Record(Record { version: 1_000, ..record }),
            row => row,
        })
    });
    assert!(matches!(renumbered, Err(RewriteError::Identity { .. })), "{renumbered:?}");
    let grown = rewrite(&old, &new("4"), 2, |stored| {
        Ok(match stored {
            Stored::Record(record) => Stored::Record(Record { payload: vec![0; 4096].into(), ..record }),
            row => row,
        })
    });
    assert!(matches!(grown, Err(RewriteError::TooLarge { .. })), "{grown:?}");
    fs::create_dir(new("5")).unwrap();
    let taken = rewrite(&old, &new("5"), 2, Ok);
    assert!(matches!(taken, Err(RewriteError::Open(OpenError::Io { .. }))), "{taken:?}");
    let open = Journal::open(&old, format(1)).unwrap().journal;
    let locked = rewrite(&old, &new("6"), 2, Ok);
    assert!(matches!(locked, Err(RewriteError::Open(OpenError::Locked { .. }))), "{locked:?}");
    assert_sound(&open);
}
