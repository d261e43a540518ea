//! One process of the daemon: started, ready, ended.

use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::deadline::{self, PATIENCE};
use crate::process::{Process, Signal};

/// A daemon that has ended, and its log since it was started.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub process: Process,
}

impl Daemon {
    /// Starts the daemon and waits until it is ready. `Err` when it ended before that.
    pub(crate) fn start(mut command: Command, dir: &Path, log: &Path) -> Result<Self, Ended> {
        let socket = dir.join("notify");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("a socket can be bound in the node's directory");
        let file = OpenOptions::new().create(true).append(true).open(log).expect("the daemon's log can be opened");
        let before = file.metadata().map_or(0, |meta| meta.len());
        let errors = File::try_clone(&file).expect("a descriptor can be cloned");
        command.env("NOTIFY_SOCKET", &socket).stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let process = Process::of(child.id().cast_signed()).expect("a child not waited for is in /proc");
        let mut daemon = Self { child, process };
        match daemon.serves(&notify) {
            Some(true) => Ok(daemon),
            Some(false) => {
                let status = daemon.child.wait().expect("a child can be waited for");
                Err(Ended { status, log: since(log, before) })
            }
            None => {
                daemon.kill();
                panic!("the daemon is not ready after {} s:\n{}", PATIENCE.as_secs(), since(log, before));
            }
        }
    }

    /// Waits for `READY=1`; `Some(false)` when the daemon ends before, `None` when the patience is over.
    fn serves(&self, notify: &UnixDatagram) -> Option<bool> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("our child has a pidfd");
        let end = Instant::now() + PATIENCE;
        loop {
            let mut fds = [PollFd::new(notify, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
            if !deadline::ready(&mut fds, end.saturating_duration_since(Instant::now())) {
                return None;
            }
            if !fds[0].revents().contains(PollFlags::IN) {
                return Some(false);
            }
            let mut message = [0; 512];
            let length = notify.recv(&mut message).unwrap_or(0);
            if message[..length].starts_with(b"READY=1") {
                return Some(true);
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and its end.
    ///
    /// # Panics
    /// When it does not end.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.wait(PATIENCE).unwrap_or_else(|_| panic!("the daemon does not end after SIGTERM"))
    }

    /// Waits until it ends by itself; gives it back when it does not.
    pub(crate) fn wait(mut self, patience: Duration) -> Result<ExitStatus, Self> {
        if !self.process.wait_gone(patience) {
            return Err(self);
        }
        Ok(self.child.wait().expect("a child can be waited for"))
    }
}

fn since(log: &Path, offset: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(usize::try_from(offset).unwrap_or(0)..).unwrap_or_default()).into_owned()
}
