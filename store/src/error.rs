//! What can go wrong, by operation.

use crate::{Seq, StreamId};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a journal has become unusable. Nothing is retried: after a failed sync the kernel may claim success for data
/// that it has dropped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The data did not reach the disk.
    #[error("cannot sync `{path}`")]
    Sync {
        /// The file that was to be synced.
        path: PathBuf,
        /// What the kernel said.
        source: Arc<io::Error>,
    },
    /// The database refused.
    #[error("cannot {action} the database at `{path}`")]
    Database {
        /// What was being done to it.
        action: &'static str,
        /// Its directory.
        path: PathBuf,
        /// What it said.
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
    /// A build before the first release wrote it: its shapes are not known, and nothing was changed.
    #[error("the journal at `{path}` is of a build before the first release: move it elsewhere to begin a new one")]
    Unreleased {
        /// The journal's directory.
        path: PathBuf,
    },
    /// It is damaged beyond what opening repairs. Nothing was deleted.
    #[error("the journal at `{path}` is damaged: {what}")]
    Damaged {
        /// The journal's directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The database refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An append was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream has moved on since the caller looked.
    #[error("stream `{stream}` has moved on: expected version {expected}, found {found}")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// The version the caller believed in.
        expected: u64,
        /// The version it has.
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
    /// A stream ends with an event, not by its row alone.
    #[error("stream `{stream}` cannot end without an event")]
    EndWithoutEvent {
        /// The stream.
        stream: StreamId,
    },
    /// The disk is nearly full; what is left is held back for urgent appends.
    #[error("no space left for the journal at `{path}`: {free} bytes are free")]
    DiskFull {
        /// The journal's directory.
        path: PathBuf,
        /// Free bytes of its file system.
        free: u64,
    },
    /// The journal is of a newer format than the caller knows and is only read.
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
        /// Why.
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
    /// A stored record is not what was written.
    #[error("record {seq} of the journal is damaged")]
    Damaged {
        /// Its position.
        seq: Seq,
    },
    /// An archive file is not what was written.
    #[error("the archive file `{path}` is damaged: {what}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: Arc<io::Error>,
    },
    /// The journal has failed.
    #[error("the journal has failed")]
    Failed {
        /// Why.
        #[source]
        cause: Fault,
    },
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// Makes the errors of file operations, with what was done to which path.
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

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
