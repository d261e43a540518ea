//! The interface between the journal and its storage: an ordered map with atomic batches.

pub(crate) mod disk;
pub(crate) mod memory;

use crate::Fault;

/// Changes that happen together or not at all. A later change of a key replaces an earlier one.
#[derive(Default)]
pub(crate) struct Changes {
    entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Changes {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.entries.push((key, Some(value)));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.entries.push((key, None));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Receives one entry of a scan; `false` ends the scan.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// An ordered map of bytes. After an error it must not be used any more.
pub(crate) trait Backend: Send + Sync {
    /// Makes the changes visible. They are durable after the next [`Backend::sync`].
    fn apply(&self, changes: Changes) -> Result<(), Fault>;
    /// Makes all applied changes survive a power cut.
    fn sync(&self) -> Result<(), Fault>;
    /// Visits the entries with `from <= key < to` in the order of their keys.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault>;
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;
}

/// Applies and syncs.
pub(crate) fn commit(backend: &dyn Backend, changes: Changes) -> Result<(), Fault> {
    if changes.is_empty() {
        return Ok(());
    }
    backend.apply(changes)?;
    backend.sync()
}
