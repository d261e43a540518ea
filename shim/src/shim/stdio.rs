//! A process's input and output: FIFOs in the state directory, or a terminal; pipes where no other shim will come.
//!
//! The ends the container holds are opened read-write. When the shim dies, a writer then waits for the next one instead
//! of being killed by SIGPIPE, and what is in the FIFO stays there.

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
/// As much of a failing runtime's words as one message carries.
const LEFTOVER_LIMIT: usize = 64 * 1024;

/// What the runtime is given as its standard input, output and error.
pub(crate) struct Theirs {
    input: OwnedFd,
    output: OwnedFd,
    error: OwnedFd,
}

/// Our ends.
pub(crate) enum Ours {
    /// Or pipes.
    Fifos {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// The terminal's other end comes over the socket; the pipe has what the runtime says.
    Terminal {
        console: UnixListener,
        complaints: OwnedFd,
    },
    Nothing,
}

impl Theirs {
    pub fn as_stdio(&self) -> [BorrowedFd<'_>; 3] {
        [self.input.as_fd(), self.output.as_fd(), self.error.as_fd()]
    }
}

impl Ours {
    /// What a failed runtime wrote to its standard error. Takes it out of the FIFO.
    pub fn leftover(&self) -> String {
        let (Self::Fifos { stderr: from, .. } | Self::Terminal { complaints: from, .. }) = self else {
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
pub(crate) fn make(process: &Process) -> anyhow::Result<(Theirs, Ours)> {
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
    Ok((Theirs { input, output, error }, Ours::Fifos { stdin, stdout, stderr }))
}

/// The same for an exec, whose shim is not replaced: pipes without a name. A detached one has a terminal or
/// nothing: what nobody reads must not stop it when its shim is lost.
pub(crate) fn make_for_exec(process: &ExecProcess) -> anyhow::Result<(Theirs, Ours)> {
    if process.terminal {
        return make_for_terminal();
    }
    if process.detached {
        let theirs = Theirs { input: open_null()?, output: open_null()?, error: open_null()? };
        return Ok((theirs, Ours::Nothing));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
    let ours = |fd: OwnedFd| rustix::io::ioctl_fionbio(&fd, true).context("cannot prepare a pipe").map(|()| fd);
    let (stdout, stderr) = (pipe()?, pipe()?);
    let (stdout, stderr, theirs) = (ours(stdout.0)?, ours(stderr.0)?, (stdout.1, stderr.1));
    let (input, stdin) = if process.open_stdin {
        let (input, stdin) = pipe()?;
        (input, Some(ours(stdin)?))
    } else {
        (open_null()?, None)
    };
    Ok((Theirs { input, output: theirs.0, error: theirs.1 }, Ours::Fifos { stdin, stdout, stderr }))
}

/// Opens our ends again, after another shim made them. Input that was closed has no name any more.
pub(crate) fn reopen(process: &Process) -> anyhow::Result<Option<Ours>> {
    if process.terminal {
        return Ok(None);
    }
    let stdin = open(STDIN, OFlags::WRONLY | OFlags::NONBLOCK).ok();
    let stdout = open(STDOUT, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let stderr = open(STDERR, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok(Some(Ours::Fifos { stdin, stdout, stderr }))
}

fn make_for_terminal() -> anyhow::Result<(Theirs, Ours)> {
    let console = listen(CONSOLE_SOCKET)?;
    let (complaints, error) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    rustix::io::ioctl_fionbio(&complaints, true).context("cannot prepare a pipe")?;
    let (input, output) = (open_null()?, open_null()?);
    Ok((Theirs { input, output, error }, Ours::Terminal { console, complaints }))
}

/// Listens on the attach socket, for root alone.
pub(crate) fn listen_for_clients() -> anyhow::Result<UnixListener> {
    let listener = listen(ATTACH_SOCKET)?;
    fs::set_permissions(ATTACH_SOCKET, fs::Permissions::from_mode(0o600))
        .context("cannot protect the attach socket")?;
    listener.set_nonblocking(true).context("cannot prepare the attach socket")?;
    Ok(listener)
}

/// The path the runtime can connect to, whatever its working directory and however long ours is.
pub(crate) fn console_path(state: &StateDir) -> PathBuf {
    let path = state.file(CONSOLE_SOCKET);
    if path.is_absolute() && path.as_os_str().len() <= ADDRESS_LIMIT {
        return path;
    }
    format!("/proc/{}/cwd/{CONSOLE_SOCKET}", std::process::id()).into()
}

/// Takes the terminal's master from the runtime, which has left: it is there or will never be.
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

/// Opens `exit_fifo` for writing, also while nobody reads it: its hang-up is how a reader learns that we are gone.
/// `None` when the daemon has made none.
pub(crate) fn open_exit_fifo() -> Option<OwnedFd> {
    // The first descriptor is a reader too, without which the second open would be refused.
    let _reader = open(EXIT_FIFO, OFlags::RDWR | OFlags::NONBLOCK).ok()?;
    open(EXIT_FIFO, OFlags::WRONLY | OFlags::NONBLOCK).ok()
}

fn make_output(name: &str) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    make_fifo(name)?;
    let theirs = open(name, OFlags::RDWR)?;
    let ours = open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok((theirs, ours))
}

/// The container's end of its input is read-only, or closing ours would not be an end of file.
fn make_input() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    make_fifo(STDIN)?;
    let both = open(STDIN, OFlags::RDWR | OFlags::NONBLOCK)?;
    let theirs = open(STDIN, OFlags::RDONLY)?;
    let ours = open(STDIN, OFlags::WRONLY | OFlags::NONBLOCK)?;
    drop(both);
    Ok((theirs, ours))
}

fn make_fifo(name: &str) -> anyhow::Result<()> {
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    let result = match nix::unistd::mkfifo(name, mode) {
        Err(nix::errno::Errno::EEXIST) => {
            // Of a start that was cut off; nobody of this start has it open.
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
