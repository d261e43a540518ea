//! Carries one output of the container to its log and its clients.
//!
//! Bytes of a FIFO are first copied, then logged, and only then taken out: a shim that is killed in between leaves
//! them for the next one. At worst a line is logged twice; none is lost. An incomplete line stays in the FIFO, while
//! its beginning was already sent to clients.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use isulad_shim::sys::{readable, sigio};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, tee};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::Stream;
use super::hub::Hub;
use super::log::LINE_LIMIT;
use super::write_signals::WriteSignals;

/// Bytes copied in one go: the size of a pipe.
const CHUNK: usize = 64 * 1024;
/// An unfinished line of this length cannot fill even the smallest pipe.
const SMALL: usize = 1024;

/// A private pipe that gets copies of a FIFO's content, and memory to read them into. One serves every output, since
/// no task waits while it is used.
pub(crate) struct PeekPipe {
    copy_out: OwnedFd,
    copy_in: OwnedFd,
    bytes: RefCell<Vec<u8>>,
    write_signals: WriteSignals,
}

impl PeekPipe {
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let (copy_out, copy_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Rc::new(Self { copy_out, copy_in, bytes: RefCell::default(), write_signals: WriteSignals::collect()? }))
    }

    /// Copies the content of `fifo` to `bytes` and takes nothing out. `None`: empty, but a writer may exist.
    fn peek(&self, fifo: &OwnedFd, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let count = loop {
            match tee(fifo, &self.copy_in, CHUNK, SpliceFlags::NONBLOCK) {
                Ok(count) => break count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        bytes.resize(CHUNK, 0);
        read_exactly(&self.copy_out, &mut bytes[..count])?;
        Ok(Some(count))
    }
}

fn read_exactly(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::read(fd, &mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

enum StepOutcome {
    More,
    Nothing,
    End,
}

struct Fifo {
    fd: AsyncFd<OwnedFd>,
    stream: Stream,
    hub: Rc<Hub>,
    peek_pipe: Rc<PeekPipe>,
    /// Bytes at the FIFO's head that were sent to clients and are not logged: the beginning of a line.
    seen: usize,
}

/// Runs until the last writer is gone, or until `stop` and all output present then is carried.
pub(crate) async fn fifo(
    fd: OwnedFd,
    stream: Stream,
    hub: Rc<Hub>,
    peek_pipe: Rc<PeekPipe>,
    stop: watch::Receiver<bool>,
) {
    let result = match readable::watch(fd) {
        Ok(fd) => Fifo { fd, stream, hub, peek_pipe, seen: 0 }.run(stop).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        eprintln!("isulad-shim: cannot read the container's {}: {error}", stream.name());
    }
}

impl Fifo {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            self.hub.room().await;
            match self.step()? {
                StepOutcome::More => tokio::task::yield_now().await,
                StepOutcome::End => return Ok(()),
                StepOutcome::Nothing if *stop.borrow() => return self.flush(),
                StepOutcome::Nothing => self.wait(&mut stop).await?,
            }
        }
    }

    /// Waits until there may be more than the bytes already seen.
    async fn wait(&self, stop: &mut watch::Receiver<bool>) -> io::Result<()> {
        let written = self.peek_pipe.write_signals.next();
        // With the beginning of a line in it the FIFO is not empty, and a writer of more than fits blocks without an
        // event.
        if self.seen > 0 {
            sigio::on(self.fd.get_ref().as_fd())?;
        }
        if self.seen == 0 || !self.has_more()? {
            tokio::select! {
                guard = self.fd.readable() => {
                    // Readiness is cleared only if there is still nothing: a write since the last check counts.
                    let mut guard = guard?;
                    if !self.has_more()? {
                        guard.clear_ready();
                    }
                }
                () = written => {}
                _ = stop.changed() => {}
            }
        }
        if self.seen > 0 { sigio::off(self.fd.get_ref().as_fd()) } else { Ok(()) }
    }

    fn has_more(&self) -> io::Result<bool> {
        let fd = self.fd.get_ref();
        Ok(rustix::io::ioctl_fionread(fd)? > self.seen as u64 || hung_up(fd)?)
    }

    fn step(&mut self) -> io::Result<StepOutcome> {
        let peek_pipe = self.peek_pipe.clone();
        let mut bytes = peek_pipe.bytes.borrow_mut();
        // Order: the hang-up is checked before the content, since nothing can follow a hang-up.
        let last = hung_up(self.fd.get_ref())?;
        match peek_pipe.peek(self.fd.get_ref(), &mut bytes)? {
            Some(count) if count > self.seen => {
                let done = self.hub.log.borrow_mut().write(self.stream, &bytes[..count], self.limit(count));
                self.take(&mut bytes[..done])?;
                self.hub.output(self.stream, &bytes[self.seen..count]);
                self.seen = count - done;
                self.hub.record_unfinished(self.stream, &bytes[done..count]);
                Ok(StepOutcome::More)
            }
            Some(count) if last => {
                self.hub.log.borrow_mut().write_rest(self.stream, &bytes[..count]);
                self.take(&mut bytes[..count])?;
                self.seen = 0;
                self.hub.record_unfinished(self.stream, &[]);
                Ok(StepOutcome::End)
            }
            // Empty and without a writer: also where the last writer left before the first check.
            Some(0) => Ok(StepOutcome::End),
            None if last => Ok(StepOutcome::End),
            Some(_) | None => Ok(StepOutcome::Nothing),
        }
    }

    /// Logs the beginning of a line when the shim stops waiting for the rest.
    fn flush(&mut self) -> io::Result<()> {
        let peek_pipe = self.peek_pipe.clone();
        let mut bytes = peek_pipe.bytes.borrow_mut();
        if let Some(count) = peek_pipe.peek(self.fd.get_ref(), &mut bytes)? {
            self.hub.log.borrow_mut().write_rest(self.stream, &bytes[..count]);
            self.take(&mut bytes[..count])?;
            self.hub.record_unfinished(self.stream, &[]);
        }
        Ok(())
    }

    /// How long an unfinished line may become. The container can shrink its pipe, and would block for ever if the
    /// beginning of a line filled it.
    fn limit(&self, count: usize) -> usize {
        if count < SMALL {
            return LINE_LIMIT;
        }
        fcntl_getpipe_size(self.fd.get_ref()).map_or(SMALL, |size| LINE_LIMIT.min(size / 4))
    }

    /// Takes logged bytes out of the FIFO, over their copy. One call, which the kernel finishes once it has begun: a
    /// shim that was killed between two calls would leave its successor the end of a line.
    fn take(&self, logged: &mut [u8]) -> io::Result<()> {
        let mut taken = 0;
        while taken < logged.len() {
            match rustix::io::read(self.fd.get_ref(), &mut logged[taken..]) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

fn hung_up(fd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    nix::poll::poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
}

/// Carries a pipe that no other shim will read and that is not logged: bytes are taken at once.
pub(crate) async fn pipe(fd: OwnedFd, stream: Stream, hub: Rc<Hub>, stop: watch::Receiver<bool>) {
    let result = match readable::watch(fd) {
        Ok(fd) => run_pipe(&fd, stream, &hub, stop).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        eprintln!("isulad-shim: cannot read the process's {}: {error}", stream.name());
    }
}

async fn run_pipe(fd: &AsyncFd<OwnedFd>, stream: Stream, hub: &Hub, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    loop {
        hub.room().await;
        match rustix::io::read(fd.get_ref(), &mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                hub.output(stream, &bytes[..count]);
                tokio::task::yield_now().await;
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if *stop.borrow() => return Ok(()),
            Err(Errno::AGAIN) => tokio::select! {
                guard = fd.readable() => {
                    let mut guard = guard?;
                    let fd = guard.get_inner();
                    // A write since the last check counts, and so does the end.
                    if rustix::io::ioctl_fionread(fd)? == 0 && !hung_up(fd)? {
                        guard.clear_ready();
                    }
                }
                _ = stop.changed() => {}
            },
            Err(errno) => return Err(errno.into()),
        }
    }
}
