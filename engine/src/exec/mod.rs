//! Further processes in a running container, each held by a shim of its own (see `isulad_shim::exec`).
//!
//! Nothing is run before `ExecStarted` is durable; the shim starts meanwhile. From its directory on an exec has a
//! keeper here (`keep`): a task that learns the exit, records it, and removes the directory, also when the caller is
//! gone. Probes ([`Engine::exec_sync`]) take the same way without the records.
//!
//! A daemon that dies takes the socket of attached execs along, which ends them; `recover` treats the ones that an
//! earlier daemon left. Without a shim no process of an attached exec runs on: its tree is killed. A detached one goes
//! on, and ends unwatched.

mod begin;
mod end_all;
mod error;
mod keep;
mod places;
mod recover;
mod sync;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use crate::spec::Program;
pub(crate) use begin::{Exec, ExecOptions, release};
pub(crate) use end_all::end_all;
pub(crate) use error::ExecError;
pub(crate) use keep::DIRECTORY;
pub(crate) use keep::{ended_at, status_of};
pub(crate) use recover::recover;
pub(crate) use sync::Captured;

use crate::domain::id::ContainerId;

/// The number of execs with a keeper, by container.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    keepers: Mutex<HashMap<ContainerId, usize>>,
    left: Notify,
    hurry: Notify,
    places: places::Places,
}

/// Counts one exec among those with a keeper, until it is dropped.
#[derive(Debug)]
pub(crate) struct KeeperGuard {
    execs: Arc<Execs>,
    id: ContainerId,
}

impl Execs {
    fn keep(self: &Arc<Self>, id: ContainerId) -> KeeperGuard {
        *self.lock().entry(id).or_default() += 1;
        KeeperGuard { execs: self.clone(), id }
    }

    /// Waits until no exec of the container has a keeper; false when patience ends first.
    pub(crate) async fn gone(&self, id: &ContainerId, patience: Duration) -> bool {
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
    fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    async fn hurried(&self) {
        self.hurry.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, usize>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeeperGuard {
    fn drop(&mut self) {
        let mut keepers = self.execs.lock();
        if let Some(count) = keepers.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                keepers.remove(&self.id);
            }
        }
        drop(keepers);
        self.execs.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gone_waits_for_all_keepers_of_the_container() {
        let execs = Arc::new(Execs::default());
        let (one, other) = (ContainerId::from_bytes([1; 32]), ContainerId::from_bytes([2; 32]));
        let first = execs.keep(one);
        let second = execs.keep(one);
        assert_eq!(execs.lock().values().sum::<usize>(), 2);
        assert!(execs.gone(&other, Duration::from_secs(1)).await);
        assert!(!execs.gone(&one, Duration::from_millis(10)).await);
        drop(first);
        assert!(!execs.gone(&one, Duration::from_millis(10)).await);
        let waiting = tokio::spawn({
            let execs = execs.clone();
            async move { execs.gone(&one, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiting.await.unwrap());
        assert_eq!(execs.lock().values().sum::<usize>(), 0);
    }
}
