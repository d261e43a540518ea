//! The lock that admits one opener at a time. It is on the directory itself: no file is left behind, and nothing is
//! written.

use crate::OpenError;
use crate::error::IoContext;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Takes the lock without waiting; fails with [`OpenError::Locked`] if it is taken. It ends with the returned file, or
/// the process.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let file = File::open(dir).opening("open", dir)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { action: "lock", path: dir.into(), source }),
    }
}
