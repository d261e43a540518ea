//! The errors, by operation.

use crate::{Seq, StreamId};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The reason why a journal has become unusable. Nothing is retried: after a failed sync the kernel may claim success
/// for data that it has dropped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The data did not reach the disk.
    #[error("cannot sync `{path}`")]
    Sync {
        /// The file that could not be synced.
        path: PathBuf,
        /// The kernel's error.
        source: Arc<io::Error>,
    },
    /// The database returned an error.
    #[error("cannot {action} the database at `{path}`")]
    Database {
        /// The operation that failed.
        action: &'static str,
        /// Its directory.
        path: PathBuf,
        /// The database's error.
        source: Arc<io::Error>,
    },
    /// Code on the writer's thread panicked: the database's, or a caller's `on_durable`.
    #[error("the journal's writer panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
}

/// A journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("the journal at `{path}` is in use by another process")]
    Locked {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The payloads are of an older generation: migrate them first, see [`crate::rewrite`].
    #[error("the journal at `{path}` has format {found}, and must be migrated to format {known} first")]
    OlderFormat {
        /// The journal's directory.
        path: PathBuf,
        /// The format on disk.
        found: u16,
        /// The format the caller knows.
        known: u16,
    },
    /// The journal was written by a build before the first release: its shapes are unknown, and nothing was changed.
    #[error("the journal at `{path}` is of a build before the first release: move it elsewhere to begin a new one")]
    Unreleased {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The damage is beyond repair. Nothing was deleted.
    #[error("the journal at `{path}` is damaged: {problem}")]
    Damaged {
        /// The journal's directory.
        path: PathBuf,
        /// The damage.
        problem: String,
    },
    /// The file system returned an error.
    #[error("cannot {action} `{path}`")]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The path it failed on.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The database refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An append was rejected or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream has moved on since the caller read its version.
    #[error("stream `{stream}` has moved on: expected version {expected}, found {found}")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// The version the caller expected.
        expected: u64,
        /// The version of the stream.
        found: u64,
    },
    /// An event or row would not fit into a stored value.
    #[error("a value of stream `{stream}` has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The stream.
        stream: StreamId,
        /// Size of the value as it would be stored.
        size: usize,
        /// The first size that is refused.
        limit: usize,
    },
    /// A stream ends with an event; removing its row alone is not enough.
    #[error("stream `{stream}` cannot end without an event")]
    EndWithoutEvent {
        /// The stream.
        stream: StreamId,
    },
    /// The disk is nearly full; the rest is reserved for urgent appends.
    #[error("no space left for the journal at `{path}`: {free} bytes are free")]
    DiskFull {
        /// The journal's directory.
        path: PathBuf,
        /// Free bytes of its file system.
        free: u64,
    },
    /// The journal is of a newer format than the caller knows and is opened read-only.
    #[error("the journal has format {found}, this program knows formats up to {known}: it is only read")]
    ReadOnly {
        /// The format on disk.
        found: u16,
        /// The format the caller knows.
        known: u16,
    },
    /// The journal has become unusable. Whether this append is durable is unknown.
    #[error("the journal has failed")]
    Failed {
        /// The fault.
        #[source]
        cause: Fault,
    },
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// Records cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// A stored record differs from the one that was written.
    #[error("record {seq} of the journal is damaged")]
    Damaged {
        /// Its position.
        seq: Seq,
    },
    /// An archive file differs from the one that was written.
    #[error("the archive file `{path}` is damaged: {problem}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// The damage.
        problem: &'static str,
    },
    /// The file system returned an error.
    #[error("cannot {action} `{path}`")]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The path it failed on.
        path: PathBuf,
        /// The kernel's error.
        source: Arc<io::Error>,
    },
    /// The journal has failed.
    #[error("the journal has failed")]
    Failed {
        /// The fault.
        #[source]
        cause: Fault,
    },
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// Adds the failed operation and its path to errors of file operations.
pub(crate) trait IoContext<T> {
    fn opening(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, OpenError>;
    fn reading(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, ReadError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn opening(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, OpenError> {
        self.map_err(|source| OpenError::Io { action, path: path.into(), source })
    }

    fn reading(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, ReadError> {
        self.map_err(|source| ReadError::Io { action, path: path.into(), source: Arc::new(source) })
    }
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
