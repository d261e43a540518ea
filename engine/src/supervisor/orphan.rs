//! Holds on a container that has lost its shim, from the loss until a new shim adopts the container or its end is
//! recorded.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{ProcessRef, StateDir, state_dir};

use super::{Supervisor, lock};
use crate::domain::id::{ContainerId, StartId};

/// Keeps an orphaned container whole: its output stays in the pipes, its exit status stays readable.
#[derive(Debug)]
pub(crate) struct OrphanHold {
    /// Of the first process; gives the exit status even when the process has ended by then.
    pub pidfd: Option<PidFd>,
    /// Readers of the output pipes: without a reader, unread bytes in the pipes would be lost with the container.
    output: Vec<File>,
}

impl OrphanHold {
    /// A process that is gone already has no pidfd, which is no error.
    pub(crate) fn open(process: ProcessRef, state: &StateDir) -> io::Result<Self> {
        let pidfd = match PidFd::open(process) {
            Ok(pidfd) => Some(pidfd),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::with_pidfd(pidfd, state))
    }

    pub(super) fn with_pidfd(pidfd: Option<PidFd>, state: &StateDir) -> Self {
        Self { pidfd, output: open_output(state) }
    }

    /// Whether the pipes contain unread output.
    pub(crate) fn has_output(&self) -> bool {
        self.output.iter().any(|fifo| rustix::io::ioctl_fionread(fifo).unwrap_or(0) > 0)
    }

    /// The process, while it runs.
    pub(crate) fn living(&self) -> Option<&PidFd> {
        self.pidfd.as_ref().filter(|pidfd| !pidfd.ended().unwrap_or(false))
    }
}

impl Supervisor {
    pub(crate) fn put_orphan(&self, id: ContainerId, start: StartId, hold: OrphanHold) {
        lock(&self.orphans).insert((id, start), hold);
    }

    pub(crate) fn take_orphan(&self, id: &ContainerId, start: StartId) -> Option<OrphanHold> {
        lock(&self.orphans).remove(&(*id, start))
    }
}

/// Readers of the container's output pipes; a pipe that cannot be opened is left out. Opening a FIFO for reading with
/// `O_NONBLOCK` never blocks.
pub(super) fn open_output(state: &StateDir) -> Vec<File> {
    let open = |name| File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(state.file(name)).ok();
    [state_dir::STDOUT, state_dir::STDERR].into_iter().filter_map(open).collect()
}
