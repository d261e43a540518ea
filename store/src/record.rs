//! The input and output types of the journal.

use crate::StreamId;
use std::fmt;
use std::sync::Arc;

/// Position in the journal: 1, 2, 3, … without gaps.
pub type Seq = u64;

/// Every stored value stays below this many bytes: larger pages would leave the one file that a sync covers.
pub const VALUE_LIMIT: usize = 4096;

/// An event to be appended. The journal does not interpret the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The kind of event; a number that never changes its meaning.
    pub kind: u16,
    /// The shape of the payload.
    pub schema: u16,
    /// The event itself.
    pub payload: Vec<u8>,
}

/// The change of the stream's savepoint row in the batch that appends its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// The row stays as it is and falls behind: its reader replays the stream's later events.
    Keep,
    /// The row is replaced.
    Put {
        /// The shape of `bytes`.
        schema: u16,
        /// The saved state.
        bytes: Vec<u8>,
    },
    /// The stream ends with the last of the events, of which there must be one. A later event begins a new stream of
    /// the same name, at version 1.
    Delete,
}

/// The part of the reserved disk space that an append may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// No reserved space.
    Ordinary,
    /// The first part: for appends that help to free space and may be requested repeatedly.
    Cleanup,
    /// All of it: for events that have to be recorded.
    Urgent,
}

/// Called by the writer with the appended records, once they are durable and before readers of the journal get them:
/// it updates states that readers of the events look at. Its result is called later.
pub type OnDurable = Box<dyn FnOnce(&[Record]) -> Option<OnReadable> + Send>;

/// Called by the writer when the appended records can be read, too: it notifies their readers.
pub type OnReadable = Box<dyn FnOnce() + Send>;

/// One atomic addition to one stream.
pub struct Append {
    /// The stream to extend.
    pub stream: StreamId,
    /// The version the caller believes the stream to have; 0 for a stream that does not exist.
    pub expected: u64,
    /// Wall-clock time of the events, in nanoseconds since the Unix epoch.
    pub at: u64,
    /// The reserved disk space it may use.
    pub urgency: Urgency,
    /// The events, in order. May be empty: then only the row changes.
    pub events: Vec<NewEvent>,
    /// The change of the savepoint row.
    pub row: Row,
    /// Runs on the writer's thread after the events are durable. Those of a batch run in journal order, then its
    /// records can be read, then the callbacks that they gave run in the same order. Both must be short and must not
    /// wait for the journal. A panic in them is fatal to the journal.
    pub on_durable: Option<OnDurable>,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("stream", &self.stream)
            .field("expected", &self.expected)
            .field("at", &self.at)
            .field("urgency", &self.urgency)
            .field("events", &self.events)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

/// An event as stored. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the journal.
    pub seq: Seq,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Position in the stream: 1, 2, 3, …
    pub version: u64,
    /// Wall-clock time, in nanoseconds since the Unix epoch, as the caller gave it.
    pub at: u64,
    /// The boot of the machine during which it was appended.
    pub boot: [u8; 16],
    /// The kind of event.
    pub kind: u16,
    /// The shape of the payload.
    pub schema: u16,
    /// Whether the stream ended with this event.
    pub ends_stream: bool,
    /// The event itself.
    pub payload: Arc<[u8]>,
}

/// A savepoint row as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRow {
    /// The stream of the saved state.
    pub stream: StreamId,
    /// The stream version that the state includes.
    pub version: u64,
    /// The journal's last event at the time: later events of the stream have to be replayed.
    pub seq: Seq,
    /// The shape of `bytes`.
    pub schema: u16,
    /// The saved state.
    pub bytes: Vec<u8>,
}
