//! The shim's notice of an exit on `exit_fifo`, and the end of the process itself, which a pidfd shows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use isulad_shim::ExitStatus as ShimStatus;
use isulad_shim::sys::pidfd::PidFd;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// How long the notice may come after the end of the process: the shim drains the container's output first.
const NOTICE_PATIENCE: Duration = Duration::from_secs(60);

/// How the wait for a shim's notice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// The four bytes of a status: the exit record is durable.
    Exited(ShimStatus),
    /// The FIFO hung up without a notice: the shim is lost.
    HangUp,
    /// The process has ended, and the shim holds the FIFO without sending a notice: it hangs.
    Overdue,
}

/// Waits for the shim's notice, which may come some time after the end of the process, since the shim drains the output
/// first. `shim_end` ends the wait, too: a shim that is gone sends nothing more, also where the FIFO that it holds is
/// not this one because it was removed and remade. `at_the_end` is called when the process has ended before the notice.
pub(super) async fn wait_for_exit(
    fifo: &AsyncFd<OwnedFd>,
    pidfd: Option<&PidFd>,
    at_the_end: impl FnOnce(),
    shim_end: impl Future<Output = ()>,
) -> Notice {
    let notice = wait_for_notice(fifo);
    tokio::pin!(notice);
    tokio::select! {
        notice = &mut notice => return notice,
        () = process_end(pidfd) => at_the_end(),
    }
    let notice_or_shim_end = async {
        tokio::select! {
            notice = notice => notice,
            // A notice that was sent before the end of the shim is in the FIFO now.
            () = shim_end => notice_now(fifo),
        }
    };
    tokio::time::timeout(NOTICE_PATIENCE, notice_or_shim_end).await.unwrap_or(Notice::Overdue)
}

/// The notice that is in the FIFO at this moment; without one, `HangUp`.
fn notice_now(fifo: &AsyncFd<OwnedFd>) -> Notice {
    let mut bytes = [0; 4];
    match nix::unistd::read(fifo.get_ref(), &mut bytes) {
        Ok(4) => Notice::Exited(ShimStatus::from_wire(bytes)),
        Ok(_) | Err(_) => Notice::HangUp,
    }
}

async fn process_end(pidfd: Option<&PidFd>) {
    let watched = pidfd.and_then(|pidfd| pidfd.as_fd().try_clone_to_owned().ok()).map(sys::watch);
    match watched {
        Some(Ok(pidfd)) => drop(pidfd.readable().await),
        // Without a pidfd only the FIFO shows the end.
        Some(Err(_)) | None => std::future::pending().await,
    }
}

async fn wait_for_notice(fifo: &AsyncFd<OwnedFd>) -> Notice {
    let mut bytes = [0; 4];
    match read_once(fifo, &mut bytes).await {
        Ok(4) => Notice::Exited(ShimStatus::from_wire(bytes)),
        Ok(_) | Err(_) => Notice::HangUp,
    }
}

pub(super) async fn wait_for_hang_up(fifo: &AsyncFd<OwnedFd>) {
    let mut rest = [0; 16];
    while matches!(read_once(fifo, &mut rest).await, Ok(n) if n > 0) {}
}

async fn read_once(fifo: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut guard = fifo.readable().await?;
        if let Ok(read) = guard.try_io(|fifo| nix::unistd::read(fifo.get_ref(), buffer).map_err(io::Error::from)) {
            return read;
        }
    }
}
