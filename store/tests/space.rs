//! A full disk, on a small file system of its own. Needs root, for the mount.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use store::{Append, AppendError, Journal, Options, Row, Urgency};
use support::{append, assert_sound, options, saving};

/// A tmpfs that is unmounted with the test, also when it fails.
struct SmallDisk {
    mounted: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(megabytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = dir.path().to_path_buf();
        let size = format!("size={megabytes}m");
        mount(Some("tmpfs"), &mounted, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        Self { mounted, _dir: dir }
    }

    /// Fills the disk up to `leave` free bytes.
    fn fill(&self, leave: u64) -> PathBuf {
        let path = self.mounted.join("ballast");
        let mut file = File::create(&path).unwrap();
        while free(&self.mounted) > leave {
            let chunk = (free(&self.mounted) - leave).min(64 << 10) as usize;
            if file.write_all(&vec![1; chunk]).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount: a journal may still be open when a test fails.
        let _ = umount2(&self.mounted, MntFlags::MNT_DETACH);
    }
}

fn free(path: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(path).unwrap();
    stat.blocks_available() as u64 * stat.fragment_size() as u64
}

fn limits() -> Options {
    Options { floor_bytes: 6 << 20, reserve_bytes: 4 << 20, ..options() }
}

fn with(urgency: Urgency, name: &str, expected: u64) -> Append {
    Append { urgency, ..append(name, expected, &["x"], saving("s")) }
}

fn urgent(name: &str, expected: u64) -> Append {
    with(Urgency::Urgent, name, expected)
}

#[tokio::test]
async fn a_full_disk_accepts_only_urgent_appends_until_there_is_space() {
    let disk = SmallDisk::new(32);
    let dir = disk.mounted.join("journal");
    let journal = Journal::open(&dir, limits()).unwrap().journal;
    let reserve = dir.join("reserve");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 4 << 20);
    support::fill(&journal, "a", 0, 20).await.unwrap();

    // Under the floor, but not full: the reserve is not needed.
    let ballast = disk.fill(4 << 20);
    match journal.append(append("a", 20, &["x"], Row::Keep)).await {
        Err(AppendError::DiskFull { path, free }) => assert!(path == dir && free <= 4 << 20, "{free}"),
        other => panic!("{other:?}"),
    }
    journal.append(urgent("b", 0)).await.unwrap();
    assert!(reserve.exists());

    // Full to the last byte: urgent appends use the reserve.
    disk.fill(0);
    assert!(free(&disk.mounted) < 1 << 20);
    for version in 1..200 {
        journal.append(urgent("b", version)).await.unwrap();
    }
    assert!(!reserve.exists());
    let refused = journal.append(append("a", 20, &["x"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::DiskFull { .. })), "{refused:?}");

    // When the reserve is used up, appends are rejected and the journal stays usable.
    disk.fill(0);
    let refused = journal.append(urgent("b", 200)).await;
    assert!(matches!(refused, Err(AppendError::DiskFull { .. })), "{refused:?}");
    assert_sound(&journal);
    journal.close().await;
    fs::remove_file(&ballast).unwrap();

    let journal = Journal::open(&dir, limits()).unwrap().journal;
    assert_eq!(journal.last(), 220);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 4 << 20, "the reserve is back");
    journal.append(append("a", 20, &["x"], Row::Keep)).await.unwrap();
    assert_sound(&journal);
}

#[tokio::test]
async fn a_journal_opens_on_a_full_disk() {
    let disk = SmallDisk::new(32);
    let dir = disk.mounted.join("journal");
    let journal = Journal::open(&dir, limits()).unwrap().journal;
    support::fill(&journal, "a", 0, 50).await.unwrap();
    journal.close().await;
    let ballast = disk.fill(0);
    let opened = Journal::open(&dir, limits()).unwrap();
    let journal = opened.journal;
    assert_eq!((journal.last(), opened.rows[0].version, opened.report.lost), (50, 50, false));
    journal.append(urgent("a", 50)).await.unwrap();
    let refused = journal.append(append("a", 51, &["x"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::DiskFull { .. })), "{refused:?}");
    fs::remove_file(ballast).unwrap();
    // No restart is needed.
    journal.append(append("a", 51, &["x"], Row::Keep)).await.unwrap();
    assert!(dir.join("reserve").exists());
    assert_sound(&journal);
}

#[tokio::test]
async fn cleanup_appends_leave_room_for_urgent_ones() {
    let disk = SmallDisk::new(32);
    let dir = disk.mounted.join("journal");
    let journal = Journal::open(&dir, limits()).unwrap().journal;
    support::fill(&journal, "a", 0, 20).await.unwrap();
    disk.fill(0);
    // Cleanup appends may use the reserve, too.
    journal.append(with(Urgency::Cleanup, "b", 0)).await.unwrap();
    assert!(!dir.join("reserve").exists());
    let mut more = File::create(disk.mounted.join("more")).unwrap();
    while free(&disk.mounted) >= 2 << 20 {
        more.write_all(&[1; 64 << 10]).unwrap();
    }
    let refused = journal.append(with(Urgency::Cleanup, "b", 1)).await;
    assert!(matches!(refused, Err(AppendError::DiskFull { .. })), "{refused:?}");
    journal.append(urgent("b", 1)).await.unwrap();
    assert_sound(&journal);
}

fn segments(dir: &Path) -> usize {
    fs::read_dir(dir.join("archive")).map_or(0, |entries| entries.count())
}

/// Makes a closed journal with an archive of at least three files. With the returned options all of it is past
/// retention, and nothing else is archived.
async fn archived(dir: &Path) -> Options {
    let journal = Journal::open(dir, support::small_window()).unwrap().journal;
    while segments(dir) < 3 {
        support::fill(&journal, "a", journal.last(), 1).await.unwrap();
    }
    journal.close().await;
    Options { archive_keep_events: 0, hot_window: 1_000, ..limits() }
}

#[tokio::test]
async fn retention_frees_a_disk_that_is_full() {
    let disk = SmallDisk::new(32);
    let dir = disk.mounted.join("journal");
    let options = archived(&dir).await;
    let journal = Journal::open(&dir, options.clone()).unwrap().journal;
    // Without a note of retention, and without space for one.
    let _ = fs::remove_file(dir.join("pruned"));
    disk.fill(0);
    assert_eq!(free(&disk.mounted), 0);
    journal.prune(u64::MAX).unwrap();
    assert_eq!(segments(&dir), 0, "neither the files nor what stood in for the note");
    assert!(free(&disk.mounted) > 0);
    let oldest = journal.oldest();
    journal.close().await;
    let opened = Journal::open(&dir, options).unwrap();
    assert_eq!((opened.report.missing, opened.journal.oldest()), (vec![], oldest));
    assert_sound(&opened.journal);
}

#[tokio::test]
async fn retention_does_not_wait_for_space_to_archive() {
    let disk = SmallDisk::new(32);
    let dir = disk.mounted.join("journal");
    let options = archived(&dir).await;
    let journal = Journal::open(&dir, options).unwrap().journal;
    disk.fill(1 << 20);
    let refused = journal.append(append("b", 0, &["x"], Row::Keep)).await;
    assert!(matches!(refused, Err(AppendError::DiskFull { .. })), "{refused:?}");
    // Closing waits for background work.
    journal.close().await;
    assert_eq!(segments(&dir), 0);
}
