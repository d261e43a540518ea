//! Reaps children with the raw wait status. Typed wrappers do not know real-time signals: they take the child's status
//! from the kernel and then fail, which loses the status.

use std::io;

use crate::ExitStatus;

/// Reaps a child that has ended: `pid` or, without one, any. `None` when no such child has ended. Never blocks.
/// ECHILD: there is no such child at all.
pub fn reap(pid: Option<i32>) -> io::Result<Option<(i32, ExitStatus)>> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one int to `status`, which lives across the call.
        match unsafe { libc::waitpid(pid.unwrap_or(-1), &raw mut status, libc::WNOHANG) } {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            child => return Ok(Some((child, ExitStatus::from_wait(status)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessRef;
    use crate::sys::pidfd::PidFd;
    use std::process::Command;

    #[test]
    #[allow(clippy::zombie_processes, reason = "waiting for them is what is tested")]
    fn every_signal_and_code_is_returned() {
        // An ordinary signal, the first and the last real-time signal, and one that service managers use to stop.
        for signal in [libc::SIGKILL, 34, 37, 64] {
            let child = Command::new("sleep").arg("1000").spawn().unwrap();
            let pid = child.id() as i32;
            assert_eq!(reap(Some(pid)).unwrap(), None);
            let pidfd = PidFd::open(ProcessRef::of(pid).unwrap()).unwrap();
            pidfd.send_signal(signal).unwrap();
            assert_eq!(wait(pid), ExitStatus::Signal(signal as u8));
            assert_eq!(reap(Some(pid)).unwrap_err().raw_os_error(), Some(libc::ECHILD));
        }
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(wait(child.id() as i32), ExitStatus::Code(7));
    }

    fn wait(pid: i32) -> ExitStatus {
        loop {
            if let Some((child, status)) = reap(Some(pid)).unwrap() {
                assert_eq!(child, pid);
                return status;
            }
            std::thread::yield_now();
        }
    }
}
