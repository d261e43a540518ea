//! One daemon for one pair of roots, and a file that says which.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::config::Config;
use crate::layout::Layout;

/// Held while the daemon lives; the kernel gives them back if it dies.
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

fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock `{}`", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            bail!("`{}` is locked: stop the other daemon, or use other --graph and --state directories", path.display())
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock `{}`", path.display())),
    }
}

/// The daemon's pid for scripts; the locks are what counts.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    pub fn write(path: &Path) -> anyhow::Result<Self> {
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
