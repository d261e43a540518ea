//! Children: ours, and those the container's processes leave to us as their subreaper. One descriptor tells of all.

use std::io;
use std::time::Duration;

use isulad_shim::sys::readable;
use isulad_shim::sys::reap::reap;
use isulad_shim::{ExitStatus, tree};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

/// Signals that arrive as bytes. Those that ask a process to leave are taken and not followed: the container would lose
/// its keeper.
pub(crate) struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals and collects them from now on.
    pub fn block() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }
}

pub(crate) struct Reaper {
    signals: AsyncFd<SignalFd>,
    refused: std::cell::Cell<bool>,
    /// Somebody listens for SIGTERM.
    obeys: bool,
    asked_to_leave: tokio::sync::Notify,
}

impl Reaper {
    /// Inside the runtime only.
    pub fn new(signals: Signals) -> io::Result<Self> {
        Ok(Self {
            signals: readable::watch(signals.fd)?,
            refused: std::cell::Cell::new(false),
            obeys: false,
            asked_to_leave: tokio::sync::Notify::new(),
        })
    }

    /// One that takes SIGTERM for what it says.
    pub fn obeying(signals: Signals) -> io::Result<Self> {
        Ok(Self { obeys: true, ..Self::new(signals)? })
    }

    /// Returns when SIGTERM has come, while something else here waits.
    pub async fn asked_to_leave(&self) {
        self.asked_to_leave.notified().await;
    }

    /// Waits for one child and reaps nothing else: what the container leaves behind stays readable in /proc.
    pub async fn only(&self, pid: i32) -> io::Result<ExitStatus> {
        loop {
            if let Some((_, status)) = reap(Some(pid))? {
                return Ok(status);
            }
            self.next_signal().await?;
        }
    }

    /// Reaps every child until `pid` is among them.
    pub async fn until(&self, pid: i32) -> io::Result<ExitStatus> {
        loop {
            while let Some((child, status)) = reap(None)? {
                if child == pid {
                    return Ok(status);
                }
            }
            self.next_signal().await?;
        }
    }

    /// Waits without a child to wait for, reaping whatever comes.
    pub async fn forever(&self) -> io::Error {
        loop {
            reap_all();
            if let Err(error) = self.next_signal().await {
                return error;
            }
        }
    }

    /// Listens to signals, and reaps nobody: who has ended is asked for later.
    pub async fn listen(&self) -> io::Error {
        loop {
            if let Err(error) = self.next_signal().await {
                return error;
            }
        }
    }

    /// Reaps who has ended; true when nobody is left.
    pub fn childless() -> bool {
        reap_all();
        reap(None).is_err()
    }

    /// Kills everything below this process, however deep and in whatever session, and reaps it. Blocks. Gives up on what
    /// is still there after `limit`: a process the kernel does not let go.
    pub fn kill_descendants(limit: Duration) {
        if !tree::kill_below_me(limit) {
            eprintln!("isulad-shim: not every process could be killed");
        }
        reap_all();
    }

    async fn next_signal(&self) -> io::Result<()> {
        loop {
            let mut guard = self.signals.readable().await?;
            let mut child = false;
            loop {
                match self.signals.get_ref().read_signal() {
                    Ok(Some(info)) if info.ssi_signo == Signal::SIGCHLD as u32 => child = true,
                    Ok(Some(info)) if self.obeys && info.ssi_signo == Signal::SIGTERM as u32 => {
                        self.asked_to_leave.notify_one();
                    }
                    Ok(Some(info)) => self.refuse(info.ssi_signo),
                    Ok(None) => break,
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            guard.clear_ready();
            if child {
                return Ok(());
            }
        }
    }

    fn refuse(&self, signal: u32) {
        if !self.refused.replace(true) {
            eprintln!("isulad-shim: signal {signal} ignored: the shim leaves with its container");
        }
    }
}

/// Reaps whoever has ended. Having no child at all is no trouble here.
fn reap_all() {
    while matches!(reap(None), Ok(Some(_))) {}
}
