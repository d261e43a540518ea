//! Making written files durable, for several callers at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{StoreError, failed};

/// A disk that takes longer does not answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(600);

/// Syncs of one file system, shared: a caller that comes while one runs waits for the next, together with all who come
/// meanwhile.
#[derive(Debug, Default)]
pub(super) struct SyncGroup {
    asked: AtomicU64,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last caller that has an outcome.
    settled: u64,
    /// Of those, the number of the last caller for which it failed.
    failed: u64,
    /// Kept open: the kernel reports a failure to each descriptor once, and never to one that is opened later.
    dir: Option<Arc<File>>,
}

impl SyncGroup {
    /// All that was written to the file system of `dir` before the call is on disk after it.
    pub(super) async fn sync(&self, dir: &Path) -> Result<(), StoreError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut state = self.state.lock().await;
        if state.settled >= number {
            return match state.failed >= number {
                true => Err(failed("sync", dir)(std::io::Error::other("a sync that covered it has failed"))),
                false => Ok(()),
            };
        }
        // A caller that comes from here on may have written after the sync has begun.
        let covers = self.asked.load(Ordering::SeqCst);
        let opened = match &state.dir {
            Some(opened) => opened.clone(),
            None => state.dir.insert(Arc::new(File::open(dir).map_err(failed("open", dir))?)).clone(),
        };
        let path: PathBuf = dir.to_owned();
        let outcome =
            blocking(dir, move || rustix::fs::syncfs(&*opened).map_err(|errno| failed("sync", &path)(errno.into())))
                .await;
        state.settled = covers;
        if outcome.is_err() {
            state.failed = covers;
        }
        outcome
    }
}

/// Runs `work` where it may block, and not for ever.
pub(super) async fn blocking(
    path: &Path,
    work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(failed("sync", path)(std::io::Error::other(panic))),
        Err(_) => Err(StoreError::Slow { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_sync_serves_all_waiting_callers() {
        let dir = tempfile::tempdir().unwrap();
        let group = Arc::new(SyncGroup::default());
        let busy = group.state.lock().await;
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let (group, dir) = (group.clone(), dir.path().to_owned());
                tokio::spawn(async move { group.sync(&dir).await })
            })
            .collect();
        while group.asked.load(Ordering::SeqCst) < 5 {
            tokio::task::yield_now().await;
        }
        drop(busy);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        let state = group.state.lock().await;
        assert_eq!((state.settled, state.failed), (5, 0));
    }

    #[tokio::test]
    async fn a_failed_sync_fails_all_callers_it_covers() {
        let group = SyncGroup::default();
        let error = group.sync(Path::new("/no/such/dir")).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/dir"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let mut state = group.state.lock().await;
        (state.settled, state.failed) = (10, 10);
        drop(state);
        assert!(group.sync(dir.path()).await.unwrap_err().to_string().contains("cannot sync"));
    }
}
