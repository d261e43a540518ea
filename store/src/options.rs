//! The options of a journal, and the report of an opening.

use crate::{Journal, SavedRow, Seq, StreamId};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Called right before every sync; its error counts as the sync's. For tests.
pub type SyncProbe = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// The options of a journal.
#[derive(Clone)]
pub struct Options {
    /// The boot of the machine; stamped on every record.
    pub boot: [u8; 16],
    /// The generation of payloads the caller knows. A journal with a newer one is opened read-only.
    pub format: u16,
    /// How many of the newest events stay in the database.
    pub hot_window: u64,
    /// How many events move to one archive file. The database may hold up to this many more than the window.
    pub archive_chunk: u64,
    /// How many events the archive keeps at least as long as they are younger than `archive_keep`.
    pub archive_keep_events: u64,
    /// How long the archive keeps events.
    pub archive_keep: Duration,
    /// Free space below which only urgent appends are accepted.
    pub floor_bytes: u64,
    /// Size of the reserve: a file that is removed to make room for urgent appends when the disk is full.
    pub reserve_bytes: u64,
    /// For tests: see [`SyncProbe`].
    pub before_sync: Option<SyncProbe>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            boot: [0; 16],
            format: 1,
            hot_window: 5_000,
            archive_chunk: 1_000,
            archive_keep_events: 1_000_000,
            archive_keep: Duration::from_secs(30 * 24 * 60 * 60),
            floor_bytes: 16 << 20,
            reserve_bytes: 4 << 20,
            before_sync: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("format", &self.format)
            .field("hot_window", &self.hot_window)
            .field("archive_chunk", &self.archive_chunk)
            .field("archive_keep_events", &self.archive_keep_events)
            .field("archive_keep", &self.archive_keep)
            .field("floor_bytes", &self.floor_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .finish_non_exhaustive()
    }
}

/// An open journal, and the content it was opened with.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// All savepoint rows.
    pub rows: Vec<SavedRow>,
    /// Streams with events later than their row, or without a row, and their versions: the caller has to replay these.
    pub behind: Vec<(StreamId, u64)>,
    /// The findings and repairs of the opening.
    pub report: OpenReport,
}

/// The journal holds payloads of a newer generation than the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewerFormat {
    /// The format on disk.
    pub found: u16,
    /// The format the caller knows.
    pub known: u16,
}

/// The findings and repairs of an opening. Without any, it is `OpenReport::default()` except for `took`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Events cut from the end because they were torn, without a noted acknowledgement: `(first, last)`. Their numbers
    /// will be used again.
    pub cut: Option<(Seq, Seq)>,
    /// Events missing or unreadable with readable or acknowledged ones at or after them, each `(first, last)`. Their
    /// numbers stay unused.
    pub gaps: Vec<(Seq, Seq)>,
    /// Older events that are neither in the database nor in the archive, each `(first, last)`. Reported at every
    /// opening.
    pub missing: Vec<(Seq, Seq)>,
    /// Streams whose row was dropped because it was torn or newer than the last good event, with the version of their
    /// remaining events (0: unknown). Their state must be observed anew.
    pub uncertain: Vec<(StreamId, u64)>,
    /// The path of the copy of damaged files.
    pub set_aside: Option<PathBuf>,
    /// Half-written files of the database that were removed.
    pub removed: Vec<PathBuf>,
    /// The database's own snapshot was dropped and its whole log replayed instead.
    pub snapshot_dropped: bool,
    /// The database could not be opened: the journal was rebuilt from archive files and the records in the database's
    /// raw pages. Later events, and the newest rows, may be missing.
    pub lost: bool,
    /// The format file was damaged and rewritten from the database.
    pub format_rebuilt: bool,
    /// Archive files that are unreadable, or hold other events than those that were archived. They are not removed.
    pub unreadable_archives: Vec<PathBuf>,
    /// Set when the journal is of a newer format and opened read-only.
    pub read_only: Option<NewerFormat>,
    /// How long opening took.
    pub took: Duration,
}
