//! Access to a container's root filesystem: shared by copies, any number of them, or exclusive to a start or removal.
//!
//! A copy does not keep others waiting for long. A start lets copies end by themselves for a moment, then makes them
//! give way; each of these has ended when the start goes on. So two mounts of one writable layer never meet, and no
//! client that has stopped reading holds a container up.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

/// Copies that must give way do so at their next step.
pub(crate) const LAST_COPY_PATIENCE: Duration = Duration::from_secs(30);

/// The access to one container's root filesystem.
#[derive(Debug)]
pub(crate) struct RootAccess {
    lock: Arc<RwLock<()>>,
    /// Why copies are to give way.
    give_way: watch::Sender<Option<&'static str>>,
    /// The root filesystem that copies have mounted among them.
    root: Mutex<Weak<OwnedFd>>,
}

impl Default for RootAccess {
    fn default() -> Self {
        Self { lock: Arc::default(), give_way: watch::Sender::new(None), root: Mutex::default() }
    }
}

/// A copy's place: nothing is started or removed while it is held.
#[derive(Debug)]
pub(crate) struct SharedAccess {
    _guard: OwnedRwLockReadGuard<()>,
    give_way: watch::Receiver<Option<&'static str>>,
}

/// The access of a start or a removal: no copy runs while it is held.
#[derive(Debug)]
pub(crate) struct ExclusiveAccess {
    _guard: OwnedRwLockWriteGuard<()>,
}

impl RootAccess {
    /// Waits while a start or a removal has exclusive access.
    pub(crate) async fn shared(&self) -> SharedAccess {
        let guard = self.lock.clone().read_owned().await;
        SharedAccess { _guard: guard, give_way: self.give_way.subscribe() }
    }

    /// The root filesystem that another copy has mounted, or that `mount` does.
    pub(crate) fn root<E>(&self, mount: impl FnOnce() -> Result<OwnedFd, E>) -> Result<Arc<OwnedFd>, E> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mounted) = root.upgrade() {
            return Ok(mounted);
        }
        let mounted = Arc::new(mount()?);
        *root = Arc::downgrade(&mounted);
        Ok(mounted)
    }

    /// Waits for copies as long as `patience`, then makes them give way. `None` when one does not: it hangs in the
    /// kernel.
    pub(crate) async fn exclusive(&self, patience: Duration, why: &'static str) -> Option<ExclusiveAccess> {
        let exclusive = self.lock.clone().write_owned();
        tokio::pin!(exclusive);
        if let Ok(guard) = tokio::time::timeout(patience, &mut exclusive).await {
            return Some(ExclusiveAccess { _guard: guard });
        }
        self.give_way.send_replace(Some(why));
        let guard = tokio::time::timeout(LAST_COPY_PATIENCE, exclusive).await;
        self.give_way.send_replace(None);
        guard.ok().map(|guard| ExclusiveAccess { _guard: guard })
    }
}

impl SharedAccess {
    /// Why the copy must give way, if it must.
    pub(crate) fn must_give_way(&self) -> Option<&'static str> {
        *self.give_way.borrow()
    }

    /// Resolves for a waiting task as soon as the copy must give way.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<&'static str>> {
        self.give_way.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_share_access_and_a_start_excludes_them() {
        let access = RootAccess::default();
        let (one, two) = (access.shared().await, access.shared().await);
        drop((one, two));
        let exclusive = access.exclusive(Duration::ZERO, "started").await.unwrap();
        let shared = tokio::time::timeout(Duration::from_millis(20), access.shared());
        assert!(shared.await.is_err(), "a copy waits for the start");
        drop(exclusive);
        assert!(access.shared().await.must_give_way().is_none());
    }

    #[tokio::test]
    async fn a_copy_gives_way_on_request() {
        let access = Arc::new(RootAccess::default());
        let shared = access.shared().await;
        let starting = tokio::spawn({
            let access = access.clone();
            async move { access.exclusive(Duration::from_millis(1), "started").await.is_some() }
        });
        let mut give_way = shared.subscribe();
        give_way.wait_for(Option::is_some).await.unwrap();
        assert_eq!(shared.must_give_way(), Some("started"));
        drop(shared);
        assert!(starting.await.unwrap());
        assert!(access.shared().await.must_give_way().is_none(), "the next one need not");
    }
}
