//! Writes input to a terminal. While no process has its other side open, the input waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use isulad_shim::sys::readable;
use rustix::io::{Errno, ioctl_fionbio};
use tokio::io::unix::AsyncFd;

use super::input::Input;

/// Between two attempts while no process has the terminal open.
const PAUSE: Duration = Duration::from_millis(100);

enum Written {
    Some(usize),
    /// The other side has no room; the next call waits for it.
    Nothing,
    /// The same, but the watch still reports an earlier hang-up.
    Stale,
    Closed,
}

/// Runs until the input ends.
pub(super) async fn carry(master: OwnedFd, input: &Input) -> io::Result<()> {
    ioctl_fionbio(master.as_fd(), true)?;
    let mut master = readable::watch_writable(master)?;
    while let Some(bytes) = input.next().await {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match write(&master, rest).await? {
                Written::Some(count) => {
                    rest = &rest[count..];
                    input.record_progress();
                }
                Written::Nothing => {}
                Written::Stale => master = readable::watch_writable(master.into_inner())?,
                Written::Closed => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    Ok(())
}

async fn write(master: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<Written> {
    let mut guard = master.writable().await?;
    let hung_up = guard.ready().is_write_closed();
    match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
        Ok(Ok(count)) => Ok(Written::Some(count)),
        Ok(Err(error)) => match Errno::from_io_error(&error) {
            Some(Errno::INTR) => Ok(Written::Nothing),
            Some(Errno::IO) => Ok(Written::Closed),
            Some(_) | None => Err(error),
        },
        Err(_) if hung_up => Ok(Written::Stale),
        Err(_) => Ok(Written::Nothing),
    }
}
