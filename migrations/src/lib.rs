//! The shapes in which events and savepoint rows are stored, of every released format, and the way from the old ones to those
//! of today.
//!
//! Stored shapes are apart from the engine's own types, so that either can change without the other: the engine maps them
//! in one file. Format 1 is that of the first release; until then its shapes may be edited, with their golden files. Then a shape
//! is never edited, it gets a successor: a new struct (`StartedV2`), the next schema number in the table of [`kinds`], an
//! [`Upcast`] from the one before, golden files, and the next [`FORMAT`].

pub mod codec;
pub mod kinds;
mod run;
mod upcast;
pub mod v1;

pub use run::{MigrateError, Migrated, Outcome, Step, migrate, migrate_with};
pub use upcast::{Upcast, UpcastError, Upcasts, What};

/// The generation of stored shapes that this program writes. A store of an older one is migrated before it is opened, one
/// of a newer one is only read.
pub const FORMAT: u16 = 1;
