//! The shapes in which events and savepoint rows are stored, of every released format, and the upcasts from older ones
//! to the current ones.
//!
//! Stored shapes are separate from the engine's own types, so that either can change without the other: the engine
//! maps them in one file. Format 1 is that of the first release; until then its shapes may be edited, together with
//! their golden files. After that a shape is never edited but gets a successor: a new struct (`StartedV2`), the next
//! schema number in the table of [`kinds`], an [`Upcast`] from its predecessor, golden files, and the next [`FORMAT`].

#![forbid(unsafe_code)]

pub mod codec;
pub mod kinds;
mod run;
mod upcast;
pub mod v1;

pub use run::{MigrateError, Migrated, Outcome, Step, migrate, migrate_with};
pub use upcast::{Shape, Upcast, UpcastError, Upcasts};

/// The generation of stored shapes that this program writes. A store of an older one is migrated before it is opened,
/// one of a newer one is opened read-only.
pub const FORMAT: u16 = 1;
