//! A store of an older format is migrated, or stays unchanged, wherever the migration is interrupted.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod older;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use migrations::{FORMAT, MigrateError, Migrated, Outcome, Step, migrate, migrate_with};
use older::{Contents, EVENTS, ROWS, build, contents, expected, upcasts};
use store::{Journal, OpenError, Options};

/// A directory with a store of format 0 in it, at `journal`, and the store's content.
fn old_store() -> (tempfile::TempDir, PathBuf, Contents) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("journal");
    build(&dir);
    let before = contents(&dir, 0);
    (root, dir, before)
}

fn names(root: &Path) -> BTreeSet<String> {
    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn migrated(outcome: Outcome) -> Migrated {
    match outcome {
        Outcome::Migrated(migrated) => *migrated,
        other => panic!("not migrated: {other:?}"),
    }
}

/// Only the store and kept originals are left, and one of the originals is unchanged.
#[track_caller]
fn check_done(root: &Path, dir: &Path, before: &Contents) {
    assert_eq!(store::format_of(dir).unwrap(), Some(FORMAT));
    assert_eq!(contents(dir, FORMAT), expected(before));
    let names = names(root);
    let kept: Vec<_> = names.iter().filter(|name| name.starts_with("journal.v0-")).collect();
    assert_eq!((names.len(), kept.len()), (2, 1), "{names:?}");
    assert_eq!(contents(&root.join(kept[0]), 0), *before);
}

#[test]
fn an_older_store_is_migrated_to_the_current_shapes() {
    let (root, dir, before) = old_store();
    assert!(dir.join("archive").read_dir().unwrap().count() > 0, "the test wants archived events too");
    let done = migrated(migrate_with(&dir, &upcasts(), &mut |_| ()).unwrap());
    assert_eq!((done.from, done.to, done.records, done.rows), (0, FORMAT, EVENTS, ROWS));
    assert_eq!(contents(&done.original, 0), before);
    check_done(root.path(), &dir, &before);
    assert_eq!(migrate(&dir).unwrap(), Outcome::Current);
}

#[test]
fn a_migrated_store_accepts_events() {
    let (_root, dir, before) = old_store();
    migrate_with(&dir, &upcasts(), &mut |_| ()).unwrap();
    older::append_one(&dir);
    let after = contents(&dir, FORMAT);
    assert_eq!(after.records.len() as u64, EVENTS + 1);
    assert_eq!(after.records[..EVENTS as usize], expected(&before).records);
}

#[test]
fn a_current_store_is_unchanged() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("journal");
    assert_eq!(migrate(&dir).unwrap(), Outcome::Absent);
    assert!(!dir.exists());
    drop(Journal::open(&dir, Options { format: FORMAT, ..Options::default() }).unwrap());
    let mut steps = Vec::new();
    let outcome = migrate_with(&dir, &upcasts(), &mut |step| steps.push(step)).unwrap();
    assert_eq!((outcome, steps), (Outcome::Current, vec![Step::Clear]));
    assert_eq!(names(root.path()), BTreeSet::from(["journal".to_owned()]));
}

#[test]
fn a_newer_store_is_not_touched() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("journal");
    drop(Journal::open(&dir, Options { format: FORMAT + 1, ..Options::default() }).unwrap());
    fs::create_dir(root.path().join("journal.migrating")).unwrap();
    let before = files(root.path());
    let error = migrate_with(&dir, &upcasts(), &mut |step| panic!("{step:?}")).unwrap_err();
    assert!(matches!(error, MigrateError::Newer { found, known, .. } if (found, known) == (FORMAT + 1, FORMAT)));
    assert_eq!(files(root.path()), before);
}

#[test]
fn a_store_in_use_is_not_migrated() {
    let (root, dir, before) = old_store();
    let open = Journal::open(&dir, Options { format: 0, ..Options::default() }).unwrap();
    let error = migrate_with(&dir, &upcasts(), &mut |_| ()).unwrap_err();
    let MigrateError::Rewrite { source: store::RewriteError::Open(OpenError::Locked { .. }), .. } = error else {
        panic!("{error:?}")
    };
    drop(open);
    assert_eq!(names(root.path()), BTreeSet::from(["journal".to_owned()]));
    assert_eq!(contents(&dir, 0), before);
}

/// The upcast is missing: the migration fails, and the store is unchanged.
#[test]
fn a_missing_upcast_leaves_the_store_unchanged() {
    let (root, dir, before) = old_store();
    let error = migrate(&dir).unwrap_err();
    assert!(matches!(error, MigrateError::Rewrite { from: 0, to: FORMAT, .. }), "{error:?}");
    assert_eq!(names(root.path()), BTreeSet::from(["journal".to_owned()]));
    assert_eq!(contents(&dir, 0), before);
}

/// Upcasts with wrong results are detected before the flip.
#[test]
fn an_undecodable_copy_is_not_installed() {
    for broken in [older::upcasts_with_bad_events(), older::upcasts_with_bad_rows()] {
        let (root, dir, before) = old_store();
        let error = migrate_with(&dir, &broken, &mut |_| ()).unwrap_err();
        assert!(matches!(&error, MigrateError::Unsound { problem, .. } if problem.contains("cannot be decoded")));
        assert_eq!(names(root.path()), BTreeSet::from(["journal".to_owned()]));
        assert_eq!(contents(&dir, 0), before);
    }
}

/// All steps of a migration, in order.
fn steps() -> Vec<Step> {
    let (_root, dir, _) = old_store();
    let mut steps = Vec::new();
    migrate_with(&dir, &upcasts(), &mut |step| steps.push(step)).unwrap();
    steps
}

#[test]
fn a_migration_reports_its_steps() {
    let mut expected = vec![Step::Clear, Step::Copy];
    expected.extend((0..EVENTS + ROWS).map(Step::Convert));
    expected.extend([Step::Verify, Step::Seal, Step::SetAside, Step::Install, Step::Done]);
    assert_eq!(steps(), expected);
}

/// Stops like a kill before this step: nothing is cleaned up.
fn interrupt(dir: &Path, at: Step) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        migrate_with(dir, &upcasts(), &mut |step| {
            if step == at {
                std::panic::panic_any(at);
            }
        })
    }));
    assert!(ended.is_err_and(|panic| panic.downcast_ref::<Step>() == Some(&at)), "not interrupted at {at:?}");
}

/// The steps to interrupt at: all, but only some of the many conversions.
fn interruptions() -> impl Iterator<Item = Step> {
    let some = [0, 1, 7, EVENTS - 1, EVENTS, EVENTS + ROWS - 1];
    steps().into_iter().filter(move |step| !matches!(step, Step::Convert(nth) if !some.contains(nth)))
}

#[test]
fn the_next_attempt_completes_after_any_interruption() {
    quiet();
    for at in interruptions() {
        let (root, dir, before) = old_store();
        interrupt(&dir, at);
        let outcome = migrate_with(&dir, &upcasts(), &mut |_| ()).unwrap();
        let expected = match at {
            Step::Install => outcome == Outcome::Finished,
            Step::Done => outcome == Outcome::Current,
            _ => matches!(outcome, Outcome::Migrated(_)),
        };
        assert!(expected, "{outcome:?} after {at:?}");
        check_done(root.path(), &dir, &before);
    }
}

/// Interrupts twice, the second time at any step.
#[test]
fn a_migration_completes_after_two_interruptions() {
    quiet();
    for first in [Step::Verify, Step::Seal, Step::SetAside] {
        for second in [Step::Clear, Step::Copy, Step::Verify, Step::SetAside, Step::Install] {
            let (root, dir, before) = old_store();
            interrupt(&dir, first);
            interrupt(&dir, second);
            migrate_with(&dir, &upcasts(), &mut |_| ()).unwrap();
            check_done(root.path(), &dir, &before);
        }
    }
    let (root, dir, before) = old_store();
    interrupt(&dir, Step::Install);
    interrupt(&dir, Step::Install);
    assert_eq!(migrate(&dir).unwrap(), Outcome::Finished);
    check_done(root.path(), &dir, &before);
}

/// Before the flip the old program may run again and write: these events must not be lost to an older copy.
#[test]
fn events_of_an_older_program_after_an_interruption_are_kept() {
    quiet();
    for at in interruptions().filter(|step| !matches!(step, Step::Install | Step::Done)) {
        let (root, dir, _) = old_store();
        interrupt(&dir, at);
        older::append_old(&dir);
        let before = contents(&dir, 0);
        assert_eq!(before.records.len() as u64, EVENTS + 1);
        migrate_with(&dir, &upcasts(), &mut |_| ()).unwrap();
        check_done(root.path(), &dir, &before);
    }
}

#[test]
fn an_empty_directory_in_its_place_does_not_prevent_the_install() {
    quiet();
    let (root, dir, before) = old_store();
    interrupt(&dir, Step::Install);
    fs::create_dir(&dir).unwrap();
    assert_eq!(migrate(&dir).unwrap(), Outcome::Finished);
    check_done(root.path(), &dir, &before);
}

#[test]
fn other_content_in_its_place_is_an_error_until_it_is_removed() {
    quiet();
    let (root, dir, before) = old_store();
    interrupt(&dir, Step::Install);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("something"), "else").unwrap();
    assert!(matches!(migrate(&dir), Err(MigrateError::Occupied { .. })));
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(migrate(&dir).unwrap(), Outcome::Finished);
    check_done(root.path(), &dir, &before);
}

#[test]
fn a_path_without_a_name_is_rejected() {
    assert!(matches!(migrate(Path::new("/")), Err(MigrateError::Io { .. })));
}

/// Suppresses the panic messages of the interruptions.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<Step>().is_none() {
                hook(info);
            }
        }));
    });
}

/// Every file below `root` with its content.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
