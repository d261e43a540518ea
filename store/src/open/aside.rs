//! Setting a damaged database aside: a copy beside the directory, before anything in it is changed.

use super::sync_dir;
use crate::OpenError;
use crate::error::IoContext;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Copies the database and the format file (not the archive, which nobody changes) to a new directory beside `dir`.
pub(super) fn copy(dir: &Path) -> Result<PathBuf, OpenError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let aside = claim(dir, now).opening("set aside", dir)?;
    copy_database(dir, &aside).and_then(|()| sync_dir(&aside)).opening("copy to", &aside)?;
    Ok(aside)
}

fn claim(dir: &Path, now: u64) -> io::Result<PathBuf> {
    let base = fs::canonicalize(dir)?;
    let mut attempt = 0;
    loop {
        let again = if attempt == 0 { String::new() } else { format!("-{attempt}") };
        let mut name = base.clone().into_os_string();
        name.push(format!(".damaged-{now}{again}"));
        match fs::create_dir(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            result => return result.map(|()| name.into()),
        }
    }
}

/// Copies all files of the database, durably.
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
            fs::File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

/// Removes the database's snapshots, which `aside` has too, so that it replays its whole log. Gives whether there
/// were any.
pub(super) fn drop_snapshots(dir: &Path, aside: &Path) -> Result<bool, OpenError> {
    let mut dropped = false;
    for entry in fs::read_dir(dir).opening("list", dir)? {
        let entry = entry.opening("list", dir)?;
        if entry.file_name().as_encoded_bytes().starts_with(b"snap.") {
            fs::remove_file(entry.path()).opening("remove", entry.path())?;
            dropped = true;
        }
    }
    if dropped {
        // A database that panicked while opening may hold its lock for as long as this process lives: a new file has
        // none.
        let (log, fresh) = (dir.join("db"), dir.join("db.fresh"));
        fs::copy(aside.join("db"), &fresh).and_then(|_| fs::rename(&fresh, &log)).opening("renew", &log)?;
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
