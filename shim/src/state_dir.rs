//! The volatile directory of one container, `<state>/<runtime>/<id>/`, and the names in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use rustix::fs::{OFlags, open};

pub const PROCESS: &str = "process.json";
pub const PID: &str = "pid";
pub const SHIM_PID: &str = "shim-pid";
pub const EXIT_FIFO: &str = "exit_fifo";
pub const ATTACH_SOCKET: &str = "attach.sock";
pub const SHIM_LOG: &str = "shim.log";
pub const RUNTIME_LOG: &str = "runtime.log";
pub const RUNTIME_PID: &str = "runtime.pid";
pub const CONSOLE_SOCKET: &str = "console.sock";
pub const STDIN: &str = "stdin";
pub const STDOUT: &str = "stdout";
pub const STDERR: &str = "stderr";
/// Marker: records of this run could not be written. A reader of the log would miss output that a client has missed.
pub const LOG_INCOMPLETE: &str = "log-incomplete";
/// See [`StateDir::exit_fallback`].
pub const EXIT_FALLBACK: &str = "exit";

/// Paths below one state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of the names above.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn process(&self) -> PathBuf {
        self.file(PROCESS)
    }

    /// `pid`: the container's first process, see [`crate::pid_file`].
    pub fn pid(&self) -> PathBuf {
        self.file(PID)
    }

    /// `shim-pid`: the shim, see [`crate::pid_file`].
    pub fn shim_pid(&self) -> PathBuf {
        self.file(SHIM_PID)
    }

    pub fn exit_fifo(&self) -> PathBuf {
        self.file(EXIT_FIFO)
    }

    /// `exit`: the exit record ([`crate::ExitRecord`]) of a start whose record could not be written to
    /// [`crate::Process::exit_record`], for example because the disk was full. It is written before the status on
    /// `exit_fifo` and outlives the shim and the daemon, not the host. No shim removes it: the reader compares its
    /// `start`, and removes it once it is journalled.
    pub fn exit_fallback(&self) -> PathBuf {
        self.file(EXIT_FALLBACK)
    }

    /// The runtime's `--log`.
    pub fn runtime_log(&self) -> PathBuf {
        self.file(RUNTIME_LOG)
    }

    /// Makes `exit_fifo` unless it is there, and opens it for reading without blocking.
    ///
    /// Read it when it becomes readable: four bytes ([`crate::ExitStatus::from_wire`]) when the container has ended,
    /// then a hang-up when its shim has exited after serving its clients to their end. A reader opened after the shim
    /// has exited sees no hang-up, so callers check `shim-pid` and the exit record as well after opening.
    pub fn open_exit_fifo(&self) -> io::Result<OwnedFd> {
        let path = self.exit_fifo();
        match nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, rustix::fs::Mode::empty())?)
    }

    /// Connects to the shim's attach socket, also where the path is longer than a socket address may be.
    /// `ConnectionRefused` or `NotFound`: no shim listens.
    pub fn connect_attach(&self) -> io::Result<UnixStream> {
        let directory = File::open(&self.path)?;
        UnixStream::connect(format!("/proc/self/fd/{}/{ATTACH_SOCKET}", directory.as_raw_fd()))
    }

    /// Removes a file of this directory; one that is not there is no error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_long_path_still_connects() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(100)).join("y".repeat(100));
        fs::create_dir_all(&long).unwrap();
        let handle = File::open(&long).unwrap();
        let _listener = UnixListener::bind(format!("/proc/self/fd/{}/{ATTACH_SOCKET}", handle.as_raw_fd())).unwrap();
        let mut stream = StateDir::new(&long).connect_attach().unwrap();
        stream.write_all(b"x").unwrap();
    }

    #[test]
    fn the_exit_fifo_is_made_once_and_opens_without_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let _first = state.open_exit_fifo().unwrap();
        let _second = state.open_exit_fifo().unwrap();
        state.remove(EXIT_FIFO).unwrap();
        state.remove(EXIT_FIFO).unwrap();
    }
}
