//! The directories of a migration, and the renames between them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{MigrateError, Outcome};

/// The paths of a migration.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) store: PathBuf,
    pub(super) migrating: PathBuf,
    migrated: PathBuf,
    parent: PathBuf,
}

impl Paths {
    pub(super) fn of(dir: &Path) -> Result<Self, MigrateError> {
        let no_name = || MigrateError::Io {
            action: "migrate",
            path: dir.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name"),
        };
        let (name, parent) = (dir.file_name().ok_or_else(no_name)?, dir.parent().ok_or_else(no_name)?);
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let beside = |suffix: &str| {
            let mut name = name.to_owned();
            name.push(suffix);
            parent.join(name)
        };
        Ok(Self {
            store: parent.join(name),
            migrating: beside(".migrating"),
            migrated: beside(".migrated"),
            parent: parent.to_owned(),
        })
    }

    /// Whether the flip was interrupted between its last two renames: the store is missing, or its place holds only an
    /// empty directory that was made since.
    pub(super) fn awaits_install(&self) -> Result<bool, MigrateError> {
        if !exists(&self.migrated)? {
            return Ok(false);
        }
        match fs::read_dir(&self.store) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(source) => Err(MigrateError::Io { action: "read", path: self.store.clone(), source }),
        }
    }

    /// The result when there is no store at its place: none exists yet, or other content takes its place.
    pub(super) fn no_store(&self) -> Result<Outcome, MigrateError> {
        if exists(&self.migrated)? {
            return Err(MigrateError::Occupied { dir: self.store.clone(), migrated: self.migrated.clone() });
        }
        Ok(Outcome::Absent)
    }

    /// Removes incomplete copies.
    pub(super) fn clear(&self) -> Result<(), MigrateError> {
        for path in [&self.migrating, &self.migrated] {
            if exists(path)? {
                fs::remove_dir_all(path).io_context("remove", path)?;
            }
        }
        Ok(())
    }

    /// Declares the copy complete.
    pub(super) fn seal(&self) -> Result<(), MigrateError> {
        // Opening it for verification may have touched its directory.
        sync(&self.migrating)?;
        self.rename(&self.migrating, &self.migrated)
    }

    /// Renames the original to its backup name, and returns that.
    pub(super) fn set_aside(&self, format: u16) -> Result<PathBuf, MigrateError> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut path = self.backup_path(format, &seconds.to_string());
        let mut again = 1;
        while exists(&path)? {
            again += 1;
            path = self.backup_path(format, &format!("{seconds}-{again}"));
        }
        self.rename(&self.store, &path)?;
        Ok(path)
    }

    fn backup_path(&self, format: u16, time: &str) -> PathBuf {
        let mut name = OsString::from(&self.store);
        name.push(format!(".v{format}-{time}"));
        name.into()
    }

    /// Puts the copy in the original's place, which is free.
    pub(super) fn install(&self) -> Result<(), MigrateError> {
        self.rename(&self.migrated, &self.store)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), MigrateError> {
        fs::rename(from, to).io_context("rename", from)?;
        sync(&self.parent)
    }
}

fn exists(path: &Path) -> Result<bool, MigrateError> {
    path.try_exists().io_context("look for", path)
}

fn sync(dir: &Path) -> Result<(), MigrateError> {
    File::open(dir).and_then(|dir| dir.sync_all()).io_context("sync", dir)
}

trait IoContext<T> {
    fn io_context(self, action: &'static str, path: &Path) -> Result<T, MigrateError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn io_context(self, action: &'static str, path: &Path) -> Result<T, MigrateError> {
        self.map_err(|source| MigrateError::Io { action, path: path.to_owned(), source })
    }
}
