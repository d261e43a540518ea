//! The container's input: what clients send, in the order it came, into a FIFO or a terminal.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use isulad_shim::Frame;
use isulad_shim::control::kind;
use isulad_shim::state_dir::STDIN;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Client;
use super::hub::Hub;
use super::typed;
use crate::shim::stdio;

/// Bytes that may wait for the container; the client that sends more waits itself.
const LIMIT: usize = 64 * 1024;
/// Bytes that may wait for a container that reads a terminal, before whoever types more waits.
const TYPED_LIMIT: usize = 1024 * 1024;
/// How long nothing of that may be read until more of it is thrown away, as a terminal does with what nobody reads: behind
/// it may wait a new size, or that the client leaves.
const UNREAD_LIMIT: Duration = Duration::from_secs(1);
/// Bytes that may wait when clients that are gone have left more.
const LEGACY_LIMIT: usize = 1024 * 1024;

#[derive(Default)]
pub(crate) struct Input {
    chunks: RefCell<VecDeque<Vec<u8>>>,
    waiting: Cell<usize>,
    state: Cell<State>,
    /// Close when the first client that could write leaves.
    once: Cell<bool>,
    terminal: RefCell<Option<OwnedFd>>,
    /// Clients that want to hear when all of it is delivered.
    closing: RefCell<Vec<Rc<Client>>>,
    /// When the container last took something.
    taken: Cell<Option<Instant>>,
    arrived: Notify,
    room: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing can be written (yet): what comes is kept until it is known whether there is an input.
    #[default]
    Unknown,
    Open,
    /// What has come is delivered, then the container reads an end of file.
    Closing,
    /// There is none, or nobody reads it: what comes is thrown away.
    Closed,
}

impl Input {
    /// Waits while too many bytes are waiting. False when there is no room, and none in sight: what comes is to be thrown
    /// away.
    pub async fn room(&self) -> bool {
        while self.accepts() {
            let has_terminal = self.terminal.borrow().is_some();
            if self.waiting.get() < if has_terminal { TYPED_LIMIT } else { LIMIT } {
                return true;
            }
            let room = self.room.notified();
            // Before there is a process, nobody can have read.
            let Some(taken) = self.taken.get().filter(|_| has_terminal) else {
                room.await;
                continue;
            };
            if tokio::time::timeout_at(taken + UNREAD_LIMIT, room).await.is_err() && self.taken.get() == Some(taken) {
                return false;
            }
        }
        true
    }

    /// Takes bytes from a client, which has waited for room.
    pub fn push(&self, bytes: Vec<u8>) {
        if self.accepts() && !bytes.is_empty() {
            self.waiting.set(self.waiting.get() + bytes.len());
            self.chunks.borrow_mut().push_back(bytes);
            self.arrived.notify_one();
        }
    }

    /// Takes what a client that is gone has sent; false when too much waits already.
    pub fn inherit(&self, bytes: Vec<u8>) -> bool {
        let fits = self.waiting.get() + bytes.len() <= LEGACY_LIMIT;
        if fits {
            self.push(bytes);
        }
        fits
    }

    /// No more will come. Closing twice is no error; a terminal has no end to close.
    pub fn close(&self) -> io::Result<()> {
        if self.terminal.borrow().is_some() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the input of a terminal has no end"));
        }
        if self.accepts() {
            self.state.set(State::Closing);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Says to the client when what has come before is delivered, and with it the end.
    pub fn tell_end(&self, client: Rc<Client>) {
        if self.state.get() == State::Closed {
            client.send(&Frame::Ack(kind::CLOSE_STDIN));
        } else {
            self.closing.borrow_mut().push(client);
        }
    }

    /// A client that could write is gone.
    pub fn client_left(&self) {
        if self.once.get() {
            let _ = self.close();
        }
    }

    pub fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        match &*self.terminal.borrow() {
            Some(terminal) => stdio::resize(terminal.as_fd(), width, height),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "this container has no terminal")),
        }
    }

    /// There is no input: forget what came.
    pub fn absent(&self) {
        self.state.set(State::Closed);
        self.chunks.borrow_mut().clear();
        self.waiting.set(0);
        self.room.notify_waiters();
        for client in self.closing.take() {
            client.send(&Frame::Ack(kind::CLOSE_STDIN));
        }
    }

    /// The terminal that `resize` is about.
    pub fn set_terminal(&self, terminal: OwnedFd) {
        self.terminal.replace(Some(terminal));
    }

    /// Lets clients write from now on.
    pub fn open(&self, once: bool) {
        self.once.set(once);
        self.took();
        if self.state.get() == State::Unknown {
            self.state.set(State::Open);
        }
    }

    /// The container has made room.
    pub fn took(&self) {
        self.taken.set(Some(Instant::now()));
    }

    fn accepts(&self) -> bool {
        matches!(self.state.get(), State::Unknown | State::Open)
    }

    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        loop {
            if let Some(bytes) = self.chunks.borrow_mut().pop_front() {
                self.waiting.set(self.waiting.get() - bytes.len());
                self.room.notify_waiters();
                return Some(bytes);
            }
            if self.state.get() != State::Open {
                return None;
            }
            self.arrived.notified().await;
        }
    }
}

/// Carries input to the container until it is closed or nobody reads it.
pub(crate) async fn carry(fd: OwnedFd, hub: Rc<Hub>) {
    if hub.input.terminal.borrow().is_some() {
        if let Err(error) = typed::carry(fd, &hub.input).await {
            eprintln!("isulad-shim: cannot write to the container's terminal: {error}");
        }
        return hub.input.absent();
    }
    if let Ok(mut writer) = tokio_fd::AsyncFd::try_from(fd.as_raw_fd()) {
        while let Some(bytes) = hub.input.next().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
    // Before the descriptor goes, which `writer` above did not own: the name tells a shim that adopts whether there is
    // an input to open.
    let _ = std::fs::remove_file(STDIN);
    drop(fd);
    hub.input.absent();
}
