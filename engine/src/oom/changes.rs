//! Changes of files, watched by one inotify for the whole daemon: version 2 of cgroups signals OOM kills by changes of
//! `memory.events`.

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
pub(super) struct Changes(Mutex<Option<Arc<Shared>>>);

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    /// The watched files' listeners, by the number of the watch.
    listeners: Mutex<HashMap<i32, Arc<Notify>>>,
}

/// A file that is watched until this is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    shared: Arc<Shared>,
    number: i32,
    notify: Arc<Notify>,
}

impl Changes {
    /// Watches a file. The event loop must be at hand.
    pub(super) fn of(&self, tasks: &Handle, path: &Path) -> io::Result<Watched> {
        let shared = {
            let mut made = lock(&self.0);
            match &*made {
                Some(shared) => shared.clone(),
                None => {
                    let inotify = sys::watch(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
                    let shared = Arc::new(Shared { inotify, listeners: Mutex::default() });
                    // Lives as long as the daemon.
                    tasks.spawn({
                        let shared = shared.clone();
                        async move { shared.run().await }
                    });
                    made.insert(shared).clone()
                }
            }
        };
        let notify = Arc::new(Notify::new());
        // Locked over both steps: an event that comes at once finds its listener.
        let mut listeners = lock(&shared.listeners);
        let number = inotify::add_watch(shared.inotify.get_ref(), path, WatchFlags::MODIFY)?;
        listeners.insert(number, notify.clone());
        drop(listeners);
        Ok(Watched { shared, number, notify })
    }
}

impl Watched {
    /// Waits for a change after the last one that was returned.
    pub(super) async fn next(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut listeners = lock(&self.shared.listeners);
        // One watch serves all listeners of a file: a later listener may have it now.
        if listeners.get(&self.number).is_some_and(|notify| Arc::ptr_eq(notify, &self.notify)) {
            listeners.remove(&self.number);
            // The file may be gone, and the watch with it.
            let _ = inotify::remove_watch(self.shared.inotify.get_ref(), self.number);
        }
    }
}

impl Shared {
    async fn run(&self) {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.notify(event.wd()),
                    Err(Errno::INTR) => {}
                    // No more events for now, or the inotify has failed: then listeners get no more changes.
                    Err(_) => break,
                }
            }
            ready.clear_ready();
        }
    }

    /// Notifies the listener of one watch; all listeners when the kernel has dropped events because its queue was full.
    fn notify(&self, number: i32) {
        let listeners = lock(&self.listeners);
        match listeners.get(&number) {
            Some(notify) => notify.notify_one(),
            None if number < 0 => listeners.values().for_each(|notify| notify.notify_one()),
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

    async fn changed(watched: &Watched) -> bool {
        tokio::time::timeout(Duration::from_secs(5), watched.next()).await.is_ok()
    }

    #[tokio::test]
    async fn each_change_reaches_the_listener_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        let changes = Changes::default();
        let tasks = Handle::current();
        let (of_a, of_b) = (changes.of(&tasks, &a).unwrap(), changes.of(&tasks, &b).unwrap());
        fs::write(&a, "1").unwrap();
        assert!(changed(&of_a).await);
        fs::write(&b, "1").unwrap();
        assert!(changed(&of_b).await);
        // Watched again before the first watch is dropped.
        let again = changes.of(&tasks, &a).unwrap();
        drop(of_a);
        fs::write(&a, "2").unwrap();
        assert!(changed(&again).await);
        drop((again, of_b));
        let shared = lock(&changes.0).clone().unwrap();
        assert!(lock(&shared.listeners).is_empty());
        assert!(changes.of(&tasks, &dir.path().join("none")).is_err());
    }
}
