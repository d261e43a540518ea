//! One opener at a time. The lock is on the directory itself: no file to leave behind, and nothing is written.

use crate::OpenError;
use crate::error::IoContext;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Takes the lock, at once or not at all. It ends with the returned file, or the process.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let file = File::open(dir).opening("open", dir)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { action: "lock", path: dir.into(), source }),
    }
}
