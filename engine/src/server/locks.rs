//! One daemon for one pair of roots: the locks that keep a second one out, and the pid file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::config::Config;
use crate::layout::Layout;

/// The locks of both roots, held while the daemon lives; the kernel releases them if it dies.
#[derive(Debug)]
pub struct Locks {
    _held: Vec<Flock<File>>,
}

impl Locks {
    pub fn take(config: &Config) -> anyhow::Result<Self> {
        let layout = Layout { graph: config.graph.clone(), state: config.state.clone() };
        let held = layout.locks().iter().map(|path| lock(path)).collect::<anyhow::Result<_>>()?;
        Ok(Self { _held: held })
    }
}

/// How long a held lock is tried again. After a daemon was killed in the middle of starting a process, that process
/// holds the lock until it executes another program.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock `{}`", path.display()))?;
    let end = Instant::now() + PATIENCE;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < end => file,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                bail!(
                    "`{}` is locked: stop the other daemon, or use other --graph and --state directories",
                    path.display()
                )
            }
            Err((_, errno)) => return Err(errno).with_context(|| format!("cannot lock `{}`", path.display())),
        };
        std::thread::sleep(PAUSE);
    }
}

/// The daemon's pid for scripts. Only the locks keep a second daemon out.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    pub(super) fn write(path: &Path) -> anyhow::Result<Self> {
        let write = || -> io::Result<()> {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let mut file = File::create(path)?;
            writeln!(file, "{}", std::process::id())
        };
        write().with_context(|| format!("cannot write the pid file `{}`", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_cannot_be_opened_does_not_blame_another_daemon() {
        let directory = tempfile::tempdir().unwrap();
        // The lock's file cannot be made, as on a disk that fails: no other daemon is to blame.
        let refused = format!("{:#}", lock(&directory.path().join("missing/lock")).unwrap_err());
        assert!(refused.starts_with("cannot open the lock") && !refused.contains("daemon"), "{refused}");
    }

    #[test]
    fn a_lock_released_in_time_is_taken_and_a_held_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = lock(&path).unwrap();
        let refused = lock(&path).unwrap_err().to_string();
        assert!(refused.contains("is locked: stop the other daemon"), "{refused}");
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(PAUSE * 5);
            drop(held);
        });
        lock(&path).unwrap();
        leaving.join().unwrap();
    }
}
