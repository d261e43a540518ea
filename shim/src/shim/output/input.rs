//! The container's input: bytes from clients, in the order of arrival, written to a FIFO or a terminal.

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

/// Bytes that may wait for the container; a client that sends more waits itself.
const LIMIT: usize = 64 * 1024;
/// Bytes that may wait for a container that reads a terminal, before the client waits.
const TYPED_LIMIT: usize = 1024 * 1024;
/// How long a container may read nothing of that before more input is thrown away, as a terminal does with input that
/// is not read: a new size, or the client's hang-up, may wait behind it.
const UNREAD_LIMIT: Duration = Duration::from_secs(1);
/// Bytes that may wait where clients that have left sent more.
const LEFT_LIMIT: usize = 1024 * 1024;

#[derive(Default)]
pub(crate) struct Input {
    chunks: RefCell<VecDeque<Vec<u8>>>,
    waiting: Cell<usize>,
    state: Cell<State>,
    /// Close when the first client that could write leaves.
    once: Cell<bool>,
    terminal: RefCell<Option<OwnedFd>>,
    /// Clients that wait for an acknowledgement that all input is delivered.
    closing: RefCell<Vec<Rc<Client>>>,
    /// When the container last read input.
    last_read: Cell<Option<Instant>>,
    arrived: Notify,
    room: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing can be written (yet): input is kept until it is known whether the container has one.
    #[default]
    Unknown,
    Open,
    /// Pending input is delivered, then the container reads an end of file.
    Closing,
    /// There is no input, or no reader of it: bytes are thrown away.
    Closed,
}

impl Input {
    /// Waits while too many bytes are waiting. False when there is no room and the container reads nothing: further
    /// input is to be thrown away.
    pub(crate) async fn room(&self) -> bool {
        while self.accepts() {
            let has_terminal = self.terminal.borrow().is_some();
            if self.waiting.get() < if has_terminal { TYPED_LIMIT } else { LIMIT } {
                return true;
            }
            let room = self.room.notified();
            // Without a process there is no reader, and so no limit on the wait.
            let Some(taken) = self.last_read.get().filter(|_| has_terminal) else {
                room.await;
                continue;
            };
            if tokio::time::timeout_at(taken + UNREAD_LIMIT, room).await.is_err() && self.last_read.get() == Some(taken)
            {
                return false;
            }
        }
        true
    }

    /// Takes bytes from a client, which has waited for room.
    pub(crate) fn push(&self, bytes: Vec<u8>) {
        if self.accepts() && !bytes.is_empty() {
            self.waiting.set(self.waiting.get() + bytes.len());
            self.chunks.borrow_mut().push_back(bytes);
            self.arrived.notify_one();
        }
    }

    /// Takes bytes of a client that has left; false when too many wait already.
    pub(crate) fn push_left(&self, bytes: Vec<u8>) -> bool {
        let fits = self.waiting.get() + bytes.len() <= LEFT_LIMIT;
        if fits {
            self.push(bytes);
        }
        fits
    }

    /// Ends the input. Closing twice is no error; a terminal has no end to close.
    pub(crate) fn close(&self) -> io::Result<()> {
        if self.terminal.borrow().is_some() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the input of a terminal has no end"));
        }
        if self.accepts() {
            self.state.set(State::Closing);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Acknowledges `CloseStdin` when all earlier input is delivered, and with it the end.
    pub(crate) fn ack_end(&self, client: Rc<Client>) {
        if self.state.get() == State::Closed {
            client.send(&Frame::Ack(kind::CLOSE_STDIN));
        } else {
            self.closing.borrow_mut().push(client);
        }
    }

    /// A client that could write has left.
    pub(crate) fn client_left(&self) {
        if self.once.get() {
            let _ = self.close();
        }
    }

    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        match &*self.terminal.borrow() {
            Some(terminal) => stdio::resize(terminal.as_fd(), width, height),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "this container has no terminal")),
        }
    }

    /// There is no input: pending bytes are dropped.
    pub(crate) fn absent(&self) {
        self.state.set(State::Closed);
        self.chunks.borrow_mut().clear();
        self.waiting.set(0);
        self.room.notify_waiters();
        for client in self.closing.take() {
            client.send(&Frame::Ack(kind::CLOSE_STDIN));
        }
    }

    /// The terminal whose size `resize` changes.
    pub(crate) fn set_terminal(&self, terminal: OwnedFd) {
        self.terminal.replace(Some(terminal));
    }

    /// Lets clients write from now on.
    pub(crate) fn open(&self, once: bool) {
        self.once.set(once);
        self.record_progress();
        if self.state.get() == State::Unknown {
            self.state.set(State::Open);
        }
    }

    /// The container has read input.
    pub(crate) fn record_progress(&self) {
        self.last_read.set(Some(Instant::now()));
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

/// Carries input to the container until it is closed or has no reader.
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
    // Order: the name is removed before the descriptor is closed, which `writer` above did not own. A shim that adopts
    // opens an input only if the name exists.
    let _ = std::fs::remove_file(STDIN);
    drop(fd);
    hub.input.absent();
}
