//! SIGIO signals for writes to an output, see [`isulad_shim::sys::sigio`].

use std::io;
use std::rc::Rc;

use isulad_shim::sys::readable;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::spawn_local;

pub(crate) struct WriteSignals {
    came: Rc<Notify>,
}

impl WriteSignals {
    /// Collects the signals from here on, for all waiting tasks.
    pub(super) fn collect() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGIO);
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let (fd, came) = (readable::watch(fd)?, Rc::new(Notify::new()));
        spawn_local(pass_on(fd, came.clone()));
        Ok(Self { came })
    }

    /// Resolves with the first signal from now on.
    pub(super) fn next(&self) -> Notified<'_> {
        self.came.notified()
    }
}

async fn pass_on(fd: AsyncFd<SignalFd>, came: Rc<Notify>) {
    loop {
        let taken = async {
            let mut guard = fd.readable().await?;
            while fd.get_ref().read_signal()?.is_some() {}
            guard.clear_ready();
            io::Result::Ok(())
        };
        if let Err(error) = taken.await {
            return eprintln!("isulad-shim: cannot collect signals: {error}");
        }
        came.notify_waiters();
    }
}
