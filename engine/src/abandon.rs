//! Blocking work with an owner: when whoever waits for it gives up, it notices at its next step and does no more.

use std::sync::{Arc, Weak};

use tokio::task::JoinError;

/// Held by the work.
#[derive(Debug, Clone)]
pub struct Owner(Weak<()>);

impl Owner {
    /// Of work whose owner is this.
    pub fn of(owner: &Arc<()>) -> Self {
        Self(Arc::downgrade(owner))
    }

    /// Nobody waits any more: what was to be done has been undone, or will be.
    pub fn has_left(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Runs `work` where it may block. Dropping the future abandons it.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce(&Owner) -> T + Send + 'static) -> Result<T, JoinError> {
    let owner = Arc::new(());
    let held = Owner::of(&owner);
    let outcome = tokio::task::spawn_blocking(move || work(&held)).await;
    drop(owner);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_notices_that_its_owner_has_left() {
        let (started, has_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (saw, has_seen) = mpsc::channel();
        let waiting = tokio::spawn(blocking(move |owner| {
            started.send(owner.has_left()).unwrap();
            may_go_on.recv().unwrap();
            saw.send(owner.has_left()).unwrap();
        }));
        assert!(!tokio::task::spawn_blocking(move || has_started.recv().unwrap()).await.unwrap());
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        assert!(tokio::task::spawn_blocking(move || has_seen.recv().unwrap()).await.unwrap());
    }

    #[tokio::test]
    async fn work_that_is_waited_for_has_an_owner() {
        assert!(!blocking(Owner::has_left).await.unwrap());
    }
}
