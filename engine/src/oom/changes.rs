//! Changes of files, told by one inotify for the whole daemon: version 2 says so of `memory.events`.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::sys;

/// Made with the first file that is watched.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Option<Arc<Shared>>>);

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    /// By the number of the watch.
    told: Mutex<HashMap<i32, Arc<Notify>>>,
}

/// A file that is watched until this is dropped.
#[derive(Debug)]
pub struct Watched {
    shared: Arc<Shared>,
    number: i32,
    notify: Arc<Notify>,
}

impl Changes {
    /// Watches a file. The event loop must be at hand.
    pub fn of(&self, tasks: &Handle, path: &Path) -> io::Result<Watched> {
        let shared = {
            let mut made = lock(&self.0);
            match &*made {
                Some(shared) => shared.clone(),
                None => {
                    let inotify = sys::watch(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
                    let shared = Arc::new(Shared { inotify, told: Mutex::default() });
                    // Lives as long as the daemon.
                    tasks.spawn({
                        let shared = shared.clone();
                        async move { shared.tell().await }
                    });
                    made.insert(shared).clone()
                }
            }
        };
        let notify = Arc::new(Notify::new());
        // Locked over both: what happens to it at once finds somebody to be told.
        let mut told = lock(&shared.told);
        let number = inotify::add_watch(shared.inotify.get_ref(), path, WatchFlags::MODIFY)?;
        told.insert(number, notify.clone());
        drop(told);
        Ok(Watched { shared, number, notify })
    }
}

impl Watched {
    /// Waits for a change since the last one that was told.
    pub async fn next(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut told = lock(&self.shared.told);
        // The same file is one watch: somebody may have it after us.
        if told.get(&self.number).is_some_and(|notify| Arc::ptr_eq(notify, &self.notify)) {
            told.remove(&self.number);
            // The file may be gone, and the watch with it.
            let _ = inotify::remove_watch(self.shared.inotify.get_ref(), self.number);
        }
    }
}

impl Shared {
    async fn tell(&self) {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.tell_one(event.wd()),
                    Err(Errno::INTR) => {}
                    // Nothing more for now, or nothing at all any more: then nobody is told, which only costs the news.
                    Err(_) => break,
                }
            }
            ready.clear_ready();
        }
    }

    /// Of all files, when so much has happened that the kernel has dropped some of it.
    fn tell_one(&self, number: i32) {
        let told = lock(&self.told);
        match told.get(&number) {
            Some(notify) => notify.notify_one(),
            None if number < 0 => told.values().for_each(|notify| notify.notify_one()),
            None => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn told(watched: &Watched) -> bool {
        tokio::time::timeout(Duration::from_secs(5), watched.next()).await.is_ok()
    }

    #[tokio::test]
    async fn each_file_tells_whoever_watches_it() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        let changes = Changes::default();
        let tasks = Handle::current();
        let (of_a, of_b) = (changes.of(&tasks, &a).unwrap(), changes.of(&tasks, &b).unwrap());
        fs::write(&a, "1").unwrap();
        assert!(told(&of_a).await);
        fs::write(&b, "1").unwrap();
        assert!(told(&of_b).await);
        // Watched again before the first one has let go of it.
        let again = changes.of(&tasks, &a).unwrap();
        drop(of_a);
        fs::write(&a, "2").unwrap();
        assert!(told(&again).await);
        drop((again, of_b));
        let shared = lock(&changes.0).clone().unwrap();
        assert!(lock(&shared.told).is_empty());
        assert!(changes.of(&tasks, &dir.path().join("none")).is_err());
    }
}
