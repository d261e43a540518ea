//! Serializes the turns of aggregates with reusable ids.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

/// A container's id is never used twice. An image's or a volume's is, and its versions begin at 1 again: a decision on
/// one life must not be recorded in the next. So turns on the same id wait for each other; ids that share a lane by
/// chance wait too, for one sync.
#[derive(Debug)]
pub(super) struct Lanes([Mutex<()>; 32]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Lanes {
    pub(super) async fn enter(&self, key: &impl Hash) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.0[hasher.finish() as usize % self.0.len()].lock().await
    }
}
