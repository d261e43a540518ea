//! The backend on sled: one tree, and a complete sync.
//!
//! sled's `flush` writes its log and waits for `sync_file_range`, which neither empties the drive's cache nor records
//! a grown file. So every sync here is `flush` and then `fdatasync` on a descriptor of its own for the same file.

use super::{Backend, Changes, Visit};
use crate::error::panic_message;
use crate::{Fault, SyncProbe};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a descriptor that this process is still closing may keep the database locked.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of pages that the database keeps in memory.
const CACHE: u64 = 2 << 20;

pub(crate) struct Disk {
    db: sled::Db,
    log: File,
    log_path: PathBuf,
    before_sync: Option<SyncProbe>,
}

impl Disk {
    /// Opens or creates the database in `dir`. A panic of the database comes back as an error.
    ///
    /// The caller holds the lock of the directory, so a lock on the file is a leftover that is about to be released.
    pub(crate) fn open(dir: &Path, before_sync: Option<SyncProbe>) -> Result<Self, Fault> {
        let fault = |action, source: io::Error| Fault::Database { action, path: dir.into(), source: Arc::new(source) };
        let deadline = Instant::now() + RELEASE_PATIENCE;
        let db = loop {
            let path = dir.to_path_buf();
            // A separate thread: a panic of the database must not poison locks or state of the caller.
            let opening = thread::Builder::new()
                .name("journal-open".into())
                .spawn(move || catch_unwind(AssertUnwindSafe(|| open(&path))))
                .map_err(|source| fault("start a thread for", source))?;
            match opening.join().and_then(|result| result) {
                Ok(Ok(db)) => break db,
                Ok(Err(error)) if is_locked(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(Err(error)) if is_locked(&error) => return Err(fault("lock", lock_error(&error.to_string()))),
                Ok(Err(error)) => return Err(fault("open", error.into())),
                Err(panic) => return Err(fault("open", io::Error::other(panic_message(panic.as_ref())))),
            }
        };
        let log_path = dir.join("db");
        let log = File::open(&log_path).map_err(|source| fault("reopen", source))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| fault("sync the directory of", source))?;
        Ok(Self { db, log, log_path, before_sync })
    }

    fn fault(&self, action: &'static str, error: sled::Error) -> Fault {
        let path = self.log_path.parent().unwrap_or(&self.log_path).into();
        Fault::Database { action, path, source: Arc::new(error.into()) }
    }
}

fn open(dir: &Path) -> sled::Result<sled::Db> {
    // The flusher thread syncs changes that were applied without a sync (deletions), and collects garbage. Few reads
    // come after the opening, since the journal keeps the newest events in memory.
    sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(Some(1000)).open()
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Recovers the kernel's error from the database's message: an error of the machine, not of the data.
fn lock_error(text: &str) -> io::Error {
    let code = text.split_once("code: ").map_or("", |(_, rest)| rest);
    let digits = code.find(|c: char| !c.is_ascii_digit()).map_or(code, |end| &code[..end]);
    io::Error::from_raw_os_error(digits.parse().unwrap_or(nix::libc::EWOULDBLOCK))
}

impl Backend for Disk {
    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes.entries {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|error| self.fault("write to", error))
    }

    fn sync(&self) -> Result<(), Fault> {
        self.db.flush().map_err(|error| self.fault("flush", error))?;
        let synced = self.before_sync.as_ref().map_or(Ok(()), |probe| probe()).and_then(|()| self.log.sync_data());
        synced.map_err(|source| Fault::Sync { path: self.log_path.clone(), source: Arc::new(source) })
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        for entry in self.db.range(from..to) {
            let (key, value) = entry.map_err(|error| self.fault("read", error))?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.db.get(key).map_err(|error| self.fault("read", error))?;
        Ok(value.map(|value| value.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_lock_is_an_error_of_the_machine() {
        let text =
            r#"could not acquire lock on "db": Os { code: 5, kind: Uncategorized, message: "Input/output error" }"#;
        assert_eq!(lock_error(text).raw_os_error(), Some(nix::libc::EIO));
        assert_eq!(lock_error("could not acquire lock").raw_os_error(), Some(nix::libc::EWOULDBLOCK));
    }
}
