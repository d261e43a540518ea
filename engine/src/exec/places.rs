//! Limits how many processes are prepared at once.
//!
//! A preparation looks into the container's root, and hangs where a file system there does not answer: in the kernel,
//! also after its caller has given up. Each hanging preparation keeps its place for as long as it hangs. So they use up
//! neither the daemon's threads nor, since a container has few places, those of other containers.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::ExecError;
use crate::cancel::{self, CancelToken};
use crate::domain::id::ContainerId;

/// Places of one container.
const OF_ONE: usize = 16;
/// Places of all. Far fewer than the threads there may be.
const OF_ALL: usize = 128;

#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// Of containers with a preparation in a place.
    of: Mutex<HashMap<ContainerId, Weak<Semaphore>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(OF_ALL)), of: Mutex::default() }
    }
}

impl Places {
    /// Runs `work` on a thread that may block, in a place that it keeps until it returns. The wait for a place, and
    /// then the work, may each take as long as `limit`; after that it is `Crowded` or `Slow`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        id: ContainerId,
        limit: Duration,
        work: impl FnOnce(&CancelToken) -> T + Send + 'static,
    ) -> Result<T, ExecError> {
        let end = Instant::now() + limit;
        let own = take(self.of(id), OF_ONE, "this container", end, limit).await?;
        let all = take(self.all.clone(), OF_ALL, "all containers", end, limit).await?;
        let working = cancel::blocking(move |cancel| {
            let _places = (own, all);
            work(cancel)
        });
        let done = tokio::time::timeout(limit, working).await.map_err(|_| ExecError::Slow { limit })?;
        done.map_err(|panic| ExecError::State { what: "prepare the process", source: io::Error::other(panic) })
    }

    fn of(&self, id: ContainerId) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = of.get(&id).and_then(Weak::upgrade) {
            return places;
        }
        // A permit keeps its semaphore alive: a semaphore without permits has all places free, as a new one has.
        of.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(OF_ONE));
        of.insert(id, Arc::downgrade(&places));
        places
    }
}

async fn take(
    places: Arc<Semaphore>,
    count: usize,
    scope: &'static str,
    end: Instant,
    limit: Duration,
) -> Result<OwnedSemaphorePermit, ExecError> {
    let crowded = || ExecError::Crowded { count, scope, limit };
    // The semaphore is never closed, so this error cannot occur.
    timeout_at(end, places.acquire_owned()).await.map_err(|_| crowded())?.map_err(|_| crowded())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const X: ContainerId = ContainerId::from_bytes([1; 32]);
    const Y: ContainerId = ContainerId::from_bytes([2; 32]);
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_hanging_preparation_keeps_only_a_place_of_its_container() {
        let places = Arc::new(Places::default());
        let (let_go, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        for _ in 0..OF_ONE {
            let hangs = hangs.clone();
            let given_up = places.run(X, SHORT, move |_| hangs.lock().unwrap().recv().is_ok()).await;
            assert!(matches!(given_up, Err(ExecError::Slow { .. })), "{given_up:?}");
        }
        let refused = places.run(X, SHORT, |_| ()).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "16 processes are being prepared for this container, and none was ready within 0 s: a file system that is \
             mounted there may not answer"
        );
        places.run(Y, LONG, |_| ()).await.unwrap();
        // One preparation returns: its place is free for the one that has waited for it.
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.run(X, LONG, |_| 7).await }
        });
        let_go.send(()).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
        drop(let_go);
        places.run(X, LONG, |_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn containers_without_preparations_are_forgotten() {
        let places = Places::default();
        for byte in 0..100 {
            places.run(ContainerId::from_bytes([byte; 32]), LONG, |_| ()).await.unwrap();
        }
        assert!(places.of.lock().unwrap().len() <= 2);
        assert_eq!(places.all.available_permits(), OF_ALL);
    }
}
