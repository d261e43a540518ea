//! Pidfds: wait for a process that is not a child, signal exactly it, and read its exit status.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{ExitStatus, ProcessRef};

/// A descriptor of one process. It becomes readable when the process has ended, and hangs up when it was reaped
/// (Linux 6.9), which is when [`PidFd::exit_status`] can answer.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
}

/// The exit status of a process, as far as the kernel provides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitInfo {
    Known(ExitStatus),
    /// It runs, or its parent has not reaped it yet.
    NotYet,
    /// This kernel does not provide it (before Linux 6.15).
    Unsupported,
}

impl PidFd {
    /// Opens `process`; `NotFound` when it has been reaped, also when another process has its pid now. A process that
    /// has ended and is not reaped yet can be opened.
    pub fn open(process: ProcessRef) -> io::Result<Self> {
        let pid = Pid::from_raw(process.pid).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(|errno| match errno {
            rustix::io::Errno::SRCH => io::ErrorKind::NotFound.into(),
            errno => io::Error::from(errno),
        })?;
        // Order: once the descriptor is open, the pid cannot be reused without the comparison failing.
        if ProcessRef::of(process.pid)? == process { Ok(Self { fd }) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Sends a signal number, real-time signals included; `NotFound` when the process is gone, `InvalidInput` for a
    /// number that is no signal.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        if !(1..=64).contains(&signal) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (info, flags) = (std::ptr::null::<libc::siginfo_t>(), 0);
        // SAFETY: the descriptor is open for the call, and without a `siginfo` the kernel reads no memory of this
        // process.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, info, flags) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        Err(if error.raw_os_error() == Some(libc::ESRCH) { io::ErrorKind::NotFound.into() } else { error })
    }

    /// Asks the kernel how the process ended. Never blocks.
    pub fn exit_info(&self) -> io::Result<ExitInfo> {
        let mut info = Info { mask: INFO_EXIT, ..Info::default() };
        // SAFETY: the request number carries the size of `Info`, the kernel writes at most that many bytes to it, and
        // `info` lives across the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), GET_INFO, &raw mut info) };
        if result == -1 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // ENOTTY, EINVAL: no such request. ESRCH: reaped, on a kernel that keeps nothing.
                Some(libc::ENOTTY | libc::EINVAL | libc::ESRCH) => Ok(ExitInfo::Unsupported),
                _ => Err(error),
            };
        }
        Ok(match info.mask & INFO_EXIT {
            0 => ExitInfo::NotYet,
            _ => ExitInfo::Known(ExitStatus::from_wait(info.exit_code)),
        })
    }

    /// The status of a process that has ended; `None` while it runs, while its parent has not reaped it, and where the
    /// kernel does not provide it.
    pub fn exit_status(&self) -> io::Result<Option<ExitStatus>> {
        Ok(match self.exit_info()? {
            ExitInfo::Known(status) => Some(status),
            ExitInfo::NotYet | ExitInfo::Unsupported => None,
        })
    }

    /// Whether the process has ended (reaped or not). Never blocks.
    pub fn ended(&self) -> io::Result<bool> {
        let mut fds = [nix::poll::PollFd::new(self.fd.as_fd(), nix::poll::PollFlags::POLLIN)];
        Ok(nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO)? > 0)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> Self {
        pidfd.fd
    }
}

/// The first published layout of the kernel's `struct pidfd_info`; the request number carries its size, and newer
/// kernels fill in that much.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::Ioctl = (3 << 30) | ((size_of::<Info>() as libc::Ioctl) << 16) | (0xff << 8) | 11;
const _: () = assert!(size_of::<Info>() == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn start(script: &str) -> (Child, PidFd) {
        let child = Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = PidFd::open(ProcessRef::of(child.id() as i32).unwrap()).unwrap();
        (child, pidfd)
    }

    #[test]
    fn the_status_is_known_after_the_process_was_reaped() {
        let (mut child, pidfd) = start("read line; exit 7");
        if pidfd.exit_info().unwrap() == ExitInfo::Unsupported {
            panic!("this test needs Linux 6.15");
        }
        assert!(!pidfd.ended().unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(pidfd.ended().unwrap());
        assert_eq!(pidfd.exit_info().unwrap(), ExitInfo::Known(ExitStatus::Code(7)));
    }

    #[test]
    fn a_signal_reaches_exactly_this_process() {
        let (mut child, pidfd) = start("read line");
        pidfd.send_signal(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(pidfd.exit_status().unwrap(), Some(ExitStatus::Signal(9)));
        assert_eq!(pidfd.send_signal(libc::SIGKILL).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        let me = PidFd::open(ProcessRef::current().unwrap()).unwrap();
        for number in [0, -1, 65, i32::MAX] {
            assert_eq!(me.send_signal(number).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{number}");
        }
    }

    #[test]
    fn a_reused_pid_is_not_opened() {
        let mut me = ProcessRef::current().unwrap();
        assert!(PidFd::open(me).is_ok());
        me.start_time += 1;
        assert_eq!(PidFd::open(me).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
