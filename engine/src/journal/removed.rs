//! Finds the removed containers among those with leftover files: a recorded removal is the only proof that the files
//! have no owner.

use std::collections::BTreeSet;

use store::{Journal, ReadError};

use super::record::Codec;
use crate::domain::container::{Container, Event};
use crate::domain::id::ContainerId;

/// How many records are in memory at once.
const PORTION: usize = 1_000;

/// The containers of `ids` with a removal as their last record. Reads the whole history; blocks.
pub(crate) fn removed(journal: &Journal, ids: &BTreeSet<ContainerId>) -> Result<BTreeSet<ContainerId>, ReadError> {
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
                // An unreadable record might be a later event, so the container does not count as removed.
                Ok(_) | Err(_) => removed.remove(&id),
            };
        }
    }
    Ok(removed)
}
