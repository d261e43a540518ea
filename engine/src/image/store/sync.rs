//! Making what was written durable, for several at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{StoreError, failed};

/// A disk that takes longer does not answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(600);

/// Syncs of one file system, shared: whoever asks while one runs waits for the next, together with all who ask meanwhile.
#[derive(Debug, Default)]
pub(super) struct SyncGroup {
    asked: AtomicU64,
    /// The number of the last one who is served.
    served: tokio::sync::Mutex<u64>,
}

impl SyncGroup {
    /// All that was written to the file system of `dir` before the call is on disk after it.
    pub(super) async fn sync(&self, dir: &Path) -> Result<(), StoreError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.served.lock().await;
        if *served >= number {
            return Ok(());
        }
        // Those who ask from here on may have written after the sync has begun.
        let covers = self.asked.load(Ordering::SeqCst);
        let path: PathBuf = dir.to_owned();
        blocking(dir, move || {
            let dir = File::open(&path).map_err(failed("open", &path))?;
            rustix::fs::syncfs(&dir).map_err(|errno| failed("sync", &path)(errno.into()))
        })
        .await?;
        *served = covers;
        Ok(())
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
    use std::sync::Arc;

    #[tokio::test]
    async fn all_who_wait_are_served_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let group = Arc::new(SyncGroup::default());
        let busy = group.served.lock().await;
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
        assert_eq!(*group.served.lock().await, 5);
    }

    #[tokio::test]
    async fn a_failure_names_the_directory_and_serves_nobody() {
        let group = SyncGroup::default();
        let error = group.sync(Path::new("/no/such/dir")).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/dir"), "{error}");
        assert_eq!(*group.served.lock().await, 0);
    }
}
