//! How many execs of each container have a keeper, and the signals between keepers and those that wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::id::ContainerId;

/// The number of execs with a keeper, by container.
#[derive(Debug, Default)]
pub(super) struct Keepers {
    count: Mutex<HashMap<ContainerId, usize>>,
    left: Notify,
    hurry: Notify,
}

/// Counts one exec among those with a keeper, until it is dropped.
#[derive(Debug)]
pub(super) struct KeeperGuard {
    keepers: Arc<Keepers>,
    id: ContainerId,
}

impl Keepers {
    /// Counts one more exec.
    pub(super) fn keep(self: &Arc<Self>, id: ContainerId) -> KeeperGuard {
        *self.lock().entry(id).or_default() += 1;
        KeeperGuard { keepers: self.clone(), id }
    }

    /// Waits until no exec of the container has a keeper; false when patience ends first.
    pub(super) async fn gone(&self, id: &ContainerId, patience: Duration) -> bool {
        let waiting = async {
            loop {
                let left = self.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                if !self.lock().contains_key(id) {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// Makes keepers check whether they still have something to wait for.
    pub(super) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// Returns at the next call of [`Self::hurry`].
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, usize>> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeeperGuard {
    fn drop(&mut self) {
        let mut counts = self.keepers.lock();
        if let Some(count) = counts.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.id);
            }
        }
        drop(counts);
        self.keepers.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gone_waits_for_all_keepers_of_the_container() {
        let keepers = Arc::new(Keepers::default());
        let (one, other) = (ContainerId::from_bytes([1; 32]), ContainerId::from_bytes([2; 32]));
        let first = keepers.keep(one);
        let second = keepers.keep(one);
        assert_eq!(keepers.lock().values().sum::<usize>(), 2);
        assert!(keepers.gone(&other, Duration::from_secs(1)).await);
        assert!(!keepers.gone(&one, Duration::from_millis(10)).await);
        drop(first);
        assert!(!keepers.gone(&one, Duration::from_millis(10)).await);
        let waiting = tokio::spawn({
            let keepers = keepers.clone();
            async move { keepers.gone(&one, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiting.await.unwrap());
        assert_eq!(keepers.lock().values().sum::<usize>(), 0);
    }
}
