//! Which containers were removed, of those that have left something: the only proof that it is nobody's any more.

use std::collections::BTreeSet;

use store::{Journal, ReadError};

use super::record::Codec;
use crate::domain::container::{Container, Event};
use crate::domain::id::ContainerId;

/// How many are in memory at once.
const PORTION: usize = 1_000;

/// Those of `ids` whose removal is the last that is recorded of them. Reads the whole history; blocks.
pub fn removed(journal: &Journal, ids: &BTreeSet<ContainerId>) -> Result<BTreeSet<ContainerId>, ReadError> {
    let mut removed = BTreeSet::new();
    if ids.is_empty() {
        return Ok(removed);
    }
    let mut next = journal.first();
    while next <= journal.last() {
        let records = journal.read(next, PORTION)?;
        let Some(newest) = records.last() else { break };
        next = newest.seq + 1;
        for record in &records {
            let Some(id) = Container::id_of(&record.stream).filter(|id| ids.contains(id)) else { continue };
            match Container::decode(record) {
                Ok((_, Event::Removed)) => removed.insert(id),
                // What cannot be read may be anything.
                Ok(_) | Err(_) => removed.remove(&id),
            };
        }
    }
    Ok(removed)
}
