//! The ends of processes: of the daemon's children, which it reaps, and of those that other processes reap.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use isulad_shim::ProcessRef;
use isulad_shim::sys::pidfd::{ExitInfo, PidFd};

use super::to_status;
use crate::domain::container::{Cause, ExitStatus};
use crate::sys;

/// Process 1 may take a moment to reap an orphaned process; the kernel gives its status from then on.
const REAP_PATIENCE: Duration = Duration::from_secs(10);

/// Reaps a child of the daemon when it ends: a process that forks a shim, or the shim of an attached exec.
pub(crate) async fn reap(child: i32) {
    let waiting = async {
        let pidfd = sys::watch(PidFd::open(ProcessRef::of(child)?)?.into())?;
        pidfd.readable().await.map(drop)
    };
    let pid = nix::unistd::Pid::from_raw(child);
    match waiting.await {
        Ok(()) => drop(nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG))),
        // The process cannot be watched: a thread waits for it.
        Err(_) => drop(tokio::task::spawn_blocking(move || nix::sys::wait::waitpid(pid, None)).await),
    }
}

/// Waits for the end of a process and takes its status from the pidfd; `Unknown` on a kernel that does not give it,
/// after an error, or when process 1 has not reaped the process in time.
pub(crate) async fn status_by_pidfd(pidfd: PidFd) -> ExitStatus {
    let waiting = async {
        drop(sys::watch(pidfd.as_fd().try_clone_to_owned()?)?.readable().await?);
        let deadline = tokio::time::Instant::now() + REAP_PATIENCE;
        loop {
            match pidfd.exit_info()? {
                ExitInfo::Known(status) => return io::Result::Ok(to_status(status, Cause::ShimLost)),
                ExitInfo::Unsupported => break,
                // Not on every kernel does a descriptor signal the reaping by another process: polled for a short time.
                ExitInfo::NotYet if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                ExitInfo::NotYet => break,
            }
        }
        Ok(ExitStatus::Unknown(Cause::ShimLost))
    };
    waiting.await.unwrap_or(ExitStatus::Unknown(Cause::ShimLost))
}
