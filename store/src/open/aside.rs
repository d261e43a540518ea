//! Setting a damaged database aside: a copy beside the directory, made before anything in it is changed.

use super::{private_dir, sync_dir};
use crate::OpenError;
use crate::error::IoContext;
use crate::space::Room;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A copy of the database as it was before anything opened it: the database itself truncates and zeroes what it takes
/// for a torn end. Goes away unless it is kept.
pub(super) struct Before {
    dir: PathBuf,
    copy: PathBuf,
    /// Nothing was copied, for want of space.
    none: bool,
    kept: Option<PathBuf>,
}

impl Before {
    /// Copies the database and what else is small; not the archive, which nobody changes.
    pub(super) fn copy(dir: &Path, room: Room) -> Result<Self, OpenError> {
        let copy = beside(dir, ".opening").opening("find", dir)?;
        // Left by a process that was killed while opening.
        let _ = fs::remove_dir_all(&copy);
        let none = room != Room::Plenty;
        if !none {
            private_dir(&copy).and_then(|()| copy_database(dir, &copy)).opening("copy to", &copy)?;
        }
        Ok(Self { dir: dir.into(), copy, none, kept: None })
    }

    /// Takes up again what an opening that was killed had kept.
    pub(super) fn kept(dir: &Path, kept: PathBuf) -> Self {
        Self { dir: dir.into(), copy: PathBuf::new(), none: true, kept: Some(kept) }
    }

    /// Keeps the copy, durably, and says where. Again and again the same one.
    pub(super) fn keep(&mut self) -> Result<PathBuf, OpenError> {
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        let dir = &self.dir;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let aside = claim(dir, now).opening("set aside", dir)?;
        let copied = if self.none { copy_database(dir, &aside) } else { fs::rename(&self.copy, &aside) };
        let parent = aside.parent().unwrap_or(&aside);
        copied.and_then(|()| sync_all(&aside)).and_then(|()| sync_dir(parent)).opening("copy to", &aside)?;
        self.kept = Some(aside.clone());
        Ok(aside)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        if !self.none && self.kept.is_none() {
            // If this fails, the next opening does it.
            let _ = fs::remove_dir_all(&self.copy);
        }
    }
}

/// A name beside the directory, which begins with the directory's.
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

/// Removes the database's snapshots and settings, which `aside` has too, so that it replays its whole log with the
/// settings it always had. Gives whether there were any.
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

/// Removes the database, of which a copy was set aside.
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
