//! Sets a damaged database aside: a copy beside the directory, made before the database is changed.

use super::{private_dir, sync_dir};
use crate::OpenError;
use crate::error::IoContext;
use crate::space::Room;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A copy of the database as it was before the opening, since the database truncates and zeroes a presumed torn end by
/// itself. The copy is removed on drop unless it was kept.
pub(super) struct OpeningCopy {
    dir: PathBuf,
    copy: PathBuf,
    /// Nothing was copied because the disk is nearly full.
    skipped: bool,
    kept: Option<PathBuf>,
}

impl OpeningCopy {
    /// Copies the database and the other small files, without the archive, which is never changed.
    pub(super) fn copy(dir: &Path, room: Room) -> Result<Self, OpenError> {
        let copy = beside(dir, ".opening").opening("find", dir)?;
        // Left by a process that was killed while opening.
        let _ = fs::remove_dir_all(&copy);
        let skipped = room != Room::Plenty;
        if !skipped {
            private_dir(&copy).and_then(|()| copy_database(dir, &copy)).opening("copy to", &copy)?;
        }
        Ok(Self { dir: dir.into(), copy, skipped, kept: None })
    }

    /// Continues with a copy that an earlier, killed opening has kept.
    pub(super) fn from_kept(dir: &Path, kept: PathBuf) -> Self {
        Self { dir: dir.into(), copy: PathBuf::new(), skipped: true, kept: Some(kept) }
    }

    /// Keeps the copy durably and returns its path. Later calls return the same path.
    pub(super) fn keep(&mut self) -> Result<PathBuf, OpenError> {
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        let dir = &self.dir;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let aside = claim(dir, now).opening("set aside", dir)?;
        let copied = if self.skipped { copy_database(dir, &aside) } else { fs::rename(&self.copy, &aside) };
        let parent = aside.parent().unwrap_or(&aside);
        copied.and_then(|()| sync_all(&aside)).and_then(|()| sync_dir(parent)).opening("copy to", &aside)?;
        self.kept = Some(aside.clone());
        Ok(aside)
    }
}

impl Drop for OpeningCopy {
    fn drop(&mut self) {
        if !self.skipped && self.kept.is_none() {
            // If this fails, the next opening removes it.
            let _ = fs::remove_dir_all(&self.copy);
        }
    }
}

/// A path beside the directory: the directory's name with a suffix.
pub(super) fn beside(dir: &Path, suffix: &str) -> io::Result<PathBuf> {
    let mut name = fs::canonicalize(dir)?.into_os_string();
    name.push(suffix);
    Ok(name.into())
}

fn claim(dir: &Path, now: u64) -> io::Result<PathBuf> {
    let mut attempt = 0;
    loop {
        let again = if attempt == 0 { String::new() } else { format!("-{attempt}") };
        let name = beside(dir, &format!(".damaged-{now}{again}"))?;
        match DirBuilder::new().mode(0o700).create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            result => return result.map(|()| name),
        }
    }
}

/// Copies all files of the database. Not synced.
pub(super) fn copy_database(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() == "blobs" {
                fs::create_dir(&target)?;
                copy_database(&entry.path(), &target)?;
            }
        } else if entry.file_name() != "reserve" {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)
}

/// Removes the database's snapshots and settings, of which `aside` has copies, so that the database replays its whole
/// log with its usual settings. Returns whether there were any.
pub(super) fn drop_snapshots(dir: &Path, aside: &Path) -> Result<bool, OpenError> {
    let mut dropped = false;
    for entry in fs::read_dir(dir).opening("list", dir)? {
        let entry = entry.opening("list", dir)?;
        if entry.file_name() == "conf" || entry.file_name().as_encoded_bytes().starts_with(b"snap.") {
            fs::remove_file(entry.path()).opening("remove", entry.path())?;
            dropped = true;
        }
    }
    if dropped {
        // A database that panicked while opening may hold its lock for as long as this process lives: a new file has
        // none.
        let (log, fresh) = (dir.join("db"), dir.join("db.fresh"));
        let renewed = match fs::copy(aside.join("db"), &fresh) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(&log),
            copied => copied.and_then(|_| fs::rename(&fresh, &log)),
        };
        renewed.opening("renew", &log)?;
    }
    Ok(dropped)
}

/// Removes the database. A copy was set aside before.
pub(super) fn clear(dir: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).opening("list", dir)? {
        let entry = entry.opening("list", dir)?;
        let name = entry.file_name();
        let path = entry.path();
        if name == "db" || name == "conf" || name.as_encoded_bytes().starts_with(b"snap.") {
            fs::remove_file(&path).opening("remove", path)?;
        } else if name == "blobs" {
            fs::remove_dir_all(&path).opening("remove", path)?;
        }
    }
    Ok(())
}
