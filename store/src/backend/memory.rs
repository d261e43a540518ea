//! The backend without a disk, for tests of code that builds on the journal.

use super::{Backend, Changes, Visit};
use crate::{Fault, SyncProbe};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) struct Memory {
    map: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
    before_sync: Option<SyncProbe>,
}

impl Memory {
    pub(crate) fn new(before_sync: Option<SyncProbe>) -> Self {
        Self { map: RwLock::default(), before_sync }
    }
}

impl Backend for Memory {
    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes.entries {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        let Some(probe) = &self.before_sync else { return Ok(()) };
        probe().map_err(|source| Fault::Sync { path: PathBuf::from(":memory:"), source: Arc::new(source) })
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in map.range(from.to_vec()..to.to_vec()) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }
}
