//! Cancellable blocking work: when its caller is gone, the work notices it at its next step and stops.

use std::sync::{Arc, Weak};

use tokio::task::JoinError;

/// Held by the work, to check whether its caller still waits.
#[derive(Debug, Clone)]
pub struct CancelToken(Weak<()>);

impl CancelToken {
    /// The token of work with this caller.
    pub fn of(caller: &Arc<()>) -> Self {
        Self(Arc::downgrade(caller))
    }

    /// No caller waits any more: the work was undone, or will be.
    pub fn is_cancelled(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Runs `work` where it may block. Dropping the future cancels it: see [`CancelToken::is_cancelled`].
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&CancelToken) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let caller = Arc::new(());
    let cancel = CancelToken::of(&caller);
    let outcome = tokio::task::spawn_blocking(move || work(&cancel)).await;
    drop(caller);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_notices_its_cancellation() {
        let (started, has_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (saw, has_seen) = mpsc::channel();
        let waiting = tokio::spawn(blocking(move |cancel| {
            started.send(cancel.is_cancelled()).unwrap();
            may_go_on.recv().unwrap();
            saw.send(cancel.is_cancelled()).unwrap();
        }));
        assert!(!tokio::task::spawn_blocking(move || has_started.recv().unwrap()).await.unwrap());
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        assert!(tokio::task::spawn_blocking(move || has_seen.recv().unwrap()).await.unwrap());
    }

    #[tokio::test]
    async fn awaited_work_is_not_cancelled() {
        assert!(!blocking(CancelToken::is_cancelled).await.unwrap());
    }
}
