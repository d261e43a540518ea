//! The plugin's input, a file that is locked: the lock goes with the open file, so it lasts as long as the plugin has
//! it, also when the daemon dies meanwhile. The next call waits for the lock: two plugins never work on one attachment.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::time::Instant;

use super::running::KILL_PATIENCE;
use crate::orphan;

/// The locked file with this in it, from its beginning; `None` when another process has it for longer than `patience`.
/// Only the holder of the lock writes it.
pub(super) async fn write(path: &Path, text: String, patience: Duration) -> io::Result<Option<File>> {
    let path = path.to_owned();
    let open = move || File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let Some(mut file) = lock(open, patience).await? else { return Ok(None) };
    let write = move || {
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    blocking(write).await.map(Some)
}

/// Gives the lock back, also where something in the background still has the file: the plugin itself has ended.
pub(super) fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// Whether no plugin works for an attachment.
#[derive(Debug, PartialEq, Eq)]
pub enum Idle {
    Yes,
    /// These have been killed and do not end; or, when there are none, the holder of the lock is unknown.
    No {
        by: Vec<i32>,
    },
}

/// Waits until no plugin works for this attachment any more: one may have outlived the daemon that ran it. One that has
/// not ended after `patience` is killed with all that it has started. A process in a session of its own keeps its
/// input, but not the lock.
pub async fn await_idle(busy: &Path, patience: Duration) -> io::Result<Idle> {
    if is_free(busy, patience).await? {
        return Ok(Idle::Yes);
    }
    let path = busy.to_owned();
    let readers = blocking(move || orphan::end_readers(&path, KILL_PATIENCE)).await?;
    let (ended, staying) = (readers.ended, readers.staying);
    tracing::warn!(call = %busy.display(), ended, staying, "an orphaned plugin has not ended by itself");
    if !readers.left.is_empty() {
        return Ok(Idle::No { by: readers.left.iter().map(|process| process.pid).collect() });
    }
    if staying > 0 {
        // The lock belongs to this file, and the next call is another one.
        let path = busy.to_owned();
        blocking(move || fs::remove_file(path)).await?;
        return Ok(Idle::Yes);
    }
    Ok(if is_free(busy, KILL_PATIENCE).await? { Idle::Yes } else { Idle::No { by: vec![] } })
}

async fn is_free(busy: &Path, patience: Duration) -> io::Result<bool> {
    let path = busy.to_owned();
    match lock(move || File::options().read(true).open(path), patience).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        locked => locked.map(|file| file.is_some()),
    }
}

/// Tried again and again: a plugin has it, or, for a moment, a child of the daemon that is just being started.
async fn lock(
    open: impl FnOnce() -> io::Result<File> + Send + 'static,
    patience: Duration,
) -> io::Result<Option<File>> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    let file = blocking(open).await?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => tokio::time::sleep(pause).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Runs work that may wait for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
