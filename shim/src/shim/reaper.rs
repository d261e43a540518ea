//! Reaps children: the shim's own, and orphaned processes of the container, whose subreaper it is. One signal
//! descriptor reports all of them.

use std::io;
use std::time::Duration;

use isulad_shim::sys::readable;
use isulad_shim::sys::reap::reap;
use isulad_shim::{ExitStatus, tree};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

/// Signals that arrive through a descriptor. Termination signals are taken and ignored: the container would lose its
/// shim.
pub(crate) struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals and collects them from now on.
    pub(super) fn block() -> nix::Result<Self> {
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
    ignored: std::cell::Cell<bool>,
    /// SIGTERM is reported instead of ignored.
    reports_sigterm: bool,
    sigterm: tokio::sync::Notify,
}

impl Reaper {
    /// Call within the event loop only.
    pub(super) fn new(signals: Signals) -> io::Result<Self> {
        Ok(Self {
            signals: readable::watch(signals.fd)?,
            ignored: std::cell::Cell::new(false),
            reports_sigterm: false,
            sigterm: tokio::sync::Notify::new(),
        })
    }

    /// A reaper that reports SIGTERM through [`Self::sigterm`].
    pub(super) fn with_sigterm(signals: Signals) -> io::Result<Self> {
        Ok(Self { reports_sigterm: true, ..Self::new(signals)? })
    }

    /// Returns when SIGTERM has come. Another method of this reaper must be waiting meanwhile.
    pub(super) async fn sigterm(&self) {
        self.sigterm.notified().await;
    }

    /// Waits for one child and reaps no other: processes the container leaves behind stay readable in /proc.
    pub(super) async fn only(&self, pid: i32) -> io::Result<ExitStatus> {
        loop {
            if let Some((_, status)) = reap(Some(pid))? {
                return Ok(status);
            }
            self.next_signal().await?;
        }
    }

    /// Reaps every child until `pid` is among them.
    pub(super) async fn until(&self, pid: i32) -> io::Result<ExitStatus> {
        loop {
            while let Some((child, status)) = reap(None)? {
                if child == pid {
                    return Ok(status);
                }
            }
            self.next_signal().await?;
        }
    }

    /// Reaps every child until an error, without waiting for a certain one.
    pub(super) async fn forever(&self) -> io::Error {
        loop {
            reap_all();
            if let Err(error) = self.next_signal().await {
                return error;
            }
        }
    }

    /// Receives signals without reaping: ended children are reaped later.
    pub(super) async fn listen(&self) -> io::Error {
        loop {
            if let Err(error) = self.next_signal().await {
                return error;
            }
        }
    }

    /// Reaps ended children; true when no child is left.
    pub(super) fn childless() -> bool {
        reap_all();
        reap(None).is_err()
    }

    /// Kills every process below this one, at any depth and in any session, and reaps it. Blocks. Gives up after
    /// `limit` on a process that the kernel does not let go.
    pub(super) fn kill_descendants(limit: Duration) {
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
                    Ok(Some(info)) if self.reports_sigterm && info.ssi_signo == Signal::SIGTERM as u32 => {
                        self.sigterm.notify_one();
                    }
                    Ok(Some(info)) => self.ignore(info.ssi_signo),
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

    fn ignore(&self, signal: u32) {
        if !self.ignored.replace(true) {
            eprintln!("isulad-shim: signal {signal} ignored: the shim leaves with its container");
        }
    }
}

/// Reaps all ended children. Having none is no error here.
fn reap_all() {
    while matches!(reap(None), Ok(Some(_))) {}
}
