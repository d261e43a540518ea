//! A process's input and output: FIFOs in the state directory, or a terminal; pipes where no other shim will come.
//!
//! The container's ends are opened read-write. When the shim dies, a writer then waits for the next shim instead of
//! being killed by SIGPIPE, and the content of the FIFO is kept.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context;
use isulad_shim::process::ConsoleSize;
use isulad_shim::state_dir::{ATTACH_SOCKET, CONSOLE_SOCKET, EXIT_FIFO, STDERR, STDIN, STDOUT};
use isulad_shim::{ExecProcess, Process, StateDir};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pipe::{PipeFlags, pipe_with};

/// Room in a socket address, without the nul.
const ADDRESS_LIMIT: usize = 107;
/// The part of a failing runtime's standard error that one message carries.
const LEFTOVER_LIMIT: usize = 64 * 1024;

/// The descriptors that the runtime gets as its standard input, output and error.
pub(crate) struct RuntimeEnds {
    input: OwnedFd,
    output: OwnedFd,
    error: OwnedFd,
}

/// The shim's ends.
pub(crate) enum ShimEnds {
    /// FIFOs of a container, or pipes of an exec.
    Fifos {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// The terminal's master comes over the socket; the pipe carries the runtime's standard error.
    Terminal {
        console: UnixListener,
        runtime_stderr: OwnedFd,
    },
    Nothing,
}

impl RuntimeEnds {
    pub(super) fn as_stdio(&self) -> [BorrowedFd<'_>; 3] {
        [self.input.as_fd(), self.output.as_fd(), self.error.as_fd()]
    }
}

impl ShimEnds {
    /// The standard error of a failed runtime, taken out of the FIFO or pipe.
    pub(super) fn stderr_text(&self) -> String {
        let (Self::Fifos { stderr: from, .. } | Self::Terminal { runtime_stderr: from, .. }) = self else {
            return String::new();
        };
        let mut bytes = vec![0; LEFTOVER_LIMIT];
        let mut filled = 0;
        while let Ok(count @ 1..) = rustix::io::read(from, &mut bytes[filled..]) {
            filled += count;
        }
        String::from_utf8_lossy(&bytes[..filled]).into_owned()
    }
}

/// Makes both sides for a new container. The working directory is the state directory.
pub(crate) fn make(process: &Process) -> anyhow::Result<(RuntimeEnds, ShimEnds)> {
    if process.terminal {
        return make_for_terminal();
    }
    let (output, stdout) = make_output(STDOUT)?;
    let (error, stderr) = make_output(STDERR)?;
    let (input, stdin) = if process.open_stdin {
        let (input, stdin) = make_input()?;
        (input, Some(stdin))
    } else {
        (open_null()?, None)
    };
    Ok((RuntimeEnds { input, output, error }, ShimEnds::Fifos { stdin, stdout, stderr }))
}

/// The same for an exec, whose shim is not replaced: pipes without a name. A detached exec has a terminal or no
/// streams: output without a reader must not stop it when its shim is lost.
pub(crate) fn make_for_exec(process: &ExecProcess) -> anyhow::Result<(RuntimeEnds, ShimEnds)> {
    if process.terminal {
        return make_for_terminal();
    }
    if process.detached {
        let runtime_ends = RuntimeEnds { input: open_null()?, output: open_null()?, error: open_null()? };
        return Ok((runtime_ends, ShimEnds::Nothing));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
    let nonblocking = |fd: OwnedFd| rustix::io::ioctl_fionbio(&fd, true).context("cannot prepare a pipe").map(|()| fd);
    let (stdout, stderr) = (pipe()?, pipe()?);
    let (stdout, stderr, runtime_ends) = (nonblocking(stdout.0)?, nonblocking(stderr.0)?, (stdout.1, stderr.1));
    let (input, stdin) = if process.open_stdin {
        let (input, stdin) = pipe()?;
        (input, Some(nonblocking(stdin)?))
    } else {
        (open_null()?, None)
    };
    Ok((
        RuntimeEnds { input, output: runtime_ends.0, error: runtime_ends.1 },
        ShimEnds::Fifos { stdin, stdout, stderr },
    ))
}

/// Opens the shim's ends again after another shim made them. An input that was closed has no name any more.
pub(crate) fn reopen(process: &Process) -> anyhow::Result<Option<ShimEnds>> {
    if process.terminal {
        return Ok(None);
    }
    let stdin = open(STDIN, OFlags::WRONLY | OFlags::NONBLOCK).ok();
    let stdout = open(STDOUT, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let stderr = open(STDERR, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok(Some(ShimEnds::Fifos { stdin, stdout, stderr }))
}

fn make_for_terminal() -> anyhow::Result<(RuntimeEnds, ShimEnds)> {
    let console = listen(CONSOLE_SOCKET)?;
    let (runtime_stderr, error) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    rustix::io::ioctl_fionbio(&runtime_stderr, true).context("cannot prepare a pipe")?;
    let (input, output) = (open_null()?, open_null()?);
    Ok((RuntimeEnds { input, output, error }, ShimEnds::Terminal { console, runtime_stderr }))
}

/// Listens on the attach socket, for root alone.
pub(crate) fn listen_for_clients() -> anyhow::Result<UnixListener> {
    let listener = listen(ATTACH_SOCKET)?;
    fs::set_permissions(ATTACH_SOCKET, fs::Permissions::from_mode(0o600))
        .context("cannot protect the attach socket")?;
    listener.set_nonblocking(true).context("cannot prepare the attach socket")?;
    Ok(listener)
}

/// A path to which the runtime can connect, whatever its working directory and the length of the state directory's
/// path.
pub(crate) fn console_path(state: &StateDir) -> PathBuf {
    let path = state.file(CONSOLE_SOCKET);
    if path.is_absolute() && path.as_os_str().len() <= ADDRESS_LIMIT {
        return path;
    }
    format!("/proc/{}/cwd/{CONSOLE_SOCKET}", std::process::id()).into()
}

/// Takes the terminal's master from the runtime. The runtime has exited: it has sent the master or never will.
pub(crate) fn receive_console(listener: &UnixListener, size: Option<ConsoleSize>) -> anyhow::Result<OwnedFd> {
    listener.set_nonblocking(true).context("cannot prepare the console socket")?;
    let (stream, _) = listener.accept().context("the runtime did not send the terminal")?;
    let mut name = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .context("cannot receive the terminal from the runtime")?;
    let master = control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .context("the runtime sent no terminal")?;
    if let Some(size) = size {
        resize(master.as_fd(), size.width, size.height).context("cannot size the terminal")?;
    }
    Ok(master)
}

pub(crate) fn resize(master: BorrowedFd<'_>, width: u16, height: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}

/// Opens `exit_fifo` for writing, also while it has no reader: its hang-up reports the end of the shim. `None` when
/// the daemon has made none.
pub(crate) fn open_exit_fifo() -> Option<OwnedFd> {
    // Without this reader the second open would be refused.
    let _reader = open(EXIT_FIFO, OFlags::RDWR | OFlags::NONBLOCK).ok()?;
    open(EXIT_FIFO, OFlags::WRONLY | OFlags::NONBLOCK).ok()
}

fn make_output(name: &str) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    make_fifo(name)?;
    let runtime_end = open(name, OFlags::RDWR)?;
    let shim_end = open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok((runtime_end, shim_end))
}

/// The container's end of its input is read-only; otherwise closing the shim's end would not be an end of file.
fn make_input() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    make_fifo(STDIN)?;
    let both = open(STDIN, OFlags::RDWR | OFlags::NONBLOCK)?;
    let runtime_end = open(STDIN, OFlags::RDONLY)?;
    let shim_end = open(STDIN, OFlags::WRONLY | OFlags::NONBLOCK)?;
    drop(both);
    Ok((runtime_end, shim_end))
}

fn make_fifo(name: &str) -> anyhow::Result<()> {
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    let result = match nix::unistd::mkfifo(name, mode) {
        Err(nix::errno::Errno::EEXIST) => {
            // A FIFO of a start that was interrupted; no process of this start has it open.
            fs::remove_file(name).with_context(|| format!("cannot replace the fifo `{name}`"))?;
            nix::unistd::mkfifo(name, mode)
        }
        result => result,
    };
    result.with_context(|| format!("cannot make the fifo `{name}`"))
}

fn listen(name: &str) -> anyhow::Result<UnixListener> {
    match UnixListener::bind(name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            fs::remove_file(name).with_context(|| format!("cannot replace the socket `{name}`"))?;
            UnixListener::bind(name)
        }
        result => result,
    }
    .with_context(|| format!("cannot listen on `{name}`"))
}

fn open(path: impl AsRef<Path>, flags: OFlags) -> anyhow::Result<OwnedFd> {
    let path = path.as_ref();
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open `{}`", path.display()))
}

fn open_null() -> anyhow::Result<OwnedFd> {
    open("/dev/null", OFlags::RDWR)
}
