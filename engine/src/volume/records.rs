//! Volumes beside their ledger.

use crate::domain::volume::Volume;
use crate::ledger::{Beside, Entry, Ledger};

/// All volumes.
pub type Records = Ledger<Volume>;

/// A volume as of one moment.
pub type Entity = Entry<Volume>;

impl Beside for Volume {
    type Index = ();
    type Own = ();
}
