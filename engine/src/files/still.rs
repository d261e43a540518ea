//! Who may be at a container's root filesystem: copies, any number of them, or a start or removal, alone.
//!
//! A copy does not keep others waiting for long. A start lets copies end by themselves for a moment, then tells them to
//! give way; one that was told so has ended when the start goes on. So two mounts of one writable layer never meet, and no
//! client that has stopped reading holds a container up.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

/// Copies that were told to give way do so at their next step.
const LAST_PATIENCE: Duration = Duration::from_secs(30);

/// Of one container.
#[derive(Debug)]
pub struct Still {
    lock: Arc<RwLock<()>>,
    /// Why copies are to give way.
    give_way: watch::Sender<Option<&'static str>>,
    /// The root filesystem that copies have mounted among them.
    root: Mutex<Weak<OwnedFd>>,
}

impl Default for Still {
    fn default() -> Self {
        Self { lock: Arc::default(), give_way: watch::Sender::new(None), root: Mutex::default() }
    }
}

/// A copy's place: nothing is started or removed while it is held.
#[derive(Debug)]
pub struct Copying {
    _guard: OwnedRwLockReadGuard<()>,
    give_way: watch::Receiver<Option<&'static str>>,
}

/// A start's or a removal's.
#[derive(Debug)]
pub struct Alone {
    _guard: OwnedRwLockWriteGuard<()>,
}

impl Still {
    /// Waits while a start or a removal is at it.
    pub async fn copying(&self) -> Copying {
        let guard = self.lock.clone().read_owned().await;
        Copying { _guard: guard, give_way: self.give_way.subscribe() }
    }

    /// The root filesystem that another copy has mounted, or that `mount` does.
    pub fn root<E>(&self, mount: impl FnOnce() -> Result<OwnedFd, E>) -> Result<Arc<OwnedFd>, E> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mounted) = root.upgrade() {
            return Ok(mounted);
        }
        let mounted = Arc::new(mount()?);
        *root = Arc::downgrade(&mounted);
        Ok(mounted)
    }

    /// Waits for copies as long as `patience`, then makes them give way. `None` when one does not: it hangs in the kernel.
    pub async fn alone(&self, patience: Duration, why: &'static str) -> Option<Alone> {
        let alone = self.lock.clone().write_owned();
        tokio::pin!(alone);
        if let Ok(guard) = tokio::time::timeout(patience, &mut alone).await {
            return Some(Alone { _guard: guard });
        }
        self.give_way.send_replace(Some(why));
        let guard = tokio::time::timeout(LAST_PATIENCE, alone).await;
        self.give_way.send_replace(None);
        guard.ok().map(|guard| Alone { _guard: guard })
    }
}

impl Copying {
    /// Why it is to give way, when it is.
    pub fn must_give_way(&self) -> Option<&'static str> {
        *self.give_way.borrow()
    }

    /// Another eye on it, for whoever waits.
    pub fn told(&self) -> watch::Receiver<Option<&'static str>> {
        self.give_way.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_are_together_and_a_start_is_alone() {
        let still = Still::default();
        let (one, two) = (still.copying().await, still.copying().await);
        drop((one, two));
        let alone = still.alone(Duration::ZERO, "started").await.unwrap();
        let copying = tokio::time::timeout(Duration::from_millis(20), still.copying());
        assert!(copying.await.is_err(), "a copy waits for the start");
        drop(alone);
        assert!(still.copying().await.must_give_way().is_none());
    }

    #[tokio::test]
    async fn a_copy_gives_way_when_it_is_told() {
        let still = Arc::new(Still::default());
        let copying = still.copying().await;
        let starting = tokio::spawn({
            let still = still.clone();
            async move { still.alone(Duration::from_millis(1), "started").await.is_some() }
        });
        let mut told = copying.told();
        told.wait_for(Option::is_some).await.unwrap();
        assert_eq!(copying.must_give_way(), Some("started"));
        drop(copying);
        assert!(starting.await.unwrap());
        assert!(still.copying().await.must_give_way().is_none(), "the next one is not told");
    }
}
