//! An append-only journal of events in streams, with one savepoint row for each living stream, on sled.
//!
//! Events get a sequence number without gaps and a version within their stream. An append names the version it expects
//! and is rejected if the stream has moved on; the stream's row changes in the same atomic batch. An event
//! acknowledged by [`Journal::append`] survives a power cut. The newest events stay in the database, older ones move
//! to compressed archive files; readers and subscribers see one sequence.
//!
//! Files in its directory: the database (`db`, `conf`, `snap.*`, `blobs/`), `archive/<first>-<last>.seg`, `format`
//! (the generation of layout and payloads), `mark` (the newest acknowledged event), `pruned` (the extent of
//! retention), `reserve` (space for a full disk). After damage, `<directory>.damaged-<seconds since the epoch>` beside
//! the directory holds a copy, which this crate never removes.
//!
//! The journal knows bytes, streams and numbers. The meaning, time and encoding of an event are the caller's.

#![forbid(unsafe_code)]

mod archive;
mod backend;
mod bytes;
mod envelope;
mod error;
mod gap;
mod history;
mod journal;
mod keys;
mod mark;
mod open;
mod options;
mod queue;
mod record;
mod rewrite;
mod saved;
mod shared;
mod space;
mod stream;
mod subscription;
mod verify;
mod writer;

pub use error::{AppendError, Fault, OpenError, ReadError};
pub use gap::{Gap, GapCause};
pub use journal::Journal;
pub use open::format_of;
pub use options::{NewerFormat, OpenReport, Opened, Options, SyncProbe};
pub use record::{Append, NewEvent, OnDurable, OnReadable, Record, Row, SavedRow, Seq, Urgency, VALUE_LIMIT};
pub use rewrite::{RewriteError, Rewritten, Stored, rewrite};
pub use stream::{BadStreamId, MAX_ID, StreamId};
pub use subscription::{Subscription, SubscriptionItem};
pub use verify::Verification;
