//! Volumes beside their ledger.

use crate::domain::volume::Volume;
use crate::ledger::{Entry, Ledger, WithCompanion};

/// All volumes.
pub(crate) type Records = Ledger<Volume>;

/// A volume as of one moment.
pub(crate) type Entity = Entry<Volume>;

impl WithCompanion for Volume {
    type Index = ();
    type Companion = ();
}
