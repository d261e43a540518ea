//! Distributes output to clients. The container is never held up for long: the output outstanding for a client is
//! bounded, and while a buffer is full the container waits only as long as that client makes progress.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use isulad_shim::control::{Follower, Position, kind};
use isulad_shim::exec::RELEASED;
use isulad_shim::{ExitStatus, Frame, Outcome};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Stream;
use super::client::Client;
use super::input::Input;
use super::log::Log;

/// Bytes a client may have outstanding before the container waits for it.
pub(super) const CLIENT_LIMIT: usize = 256 * 1024;
/// Bytes at which a client is cut off even while the container's last output is delivered.
const CLIENT_MAXIMUM: usize = 8 * 1024 * 1024;
/// How long a client that did not start the container may have a full buffer, whatever it reads meanwhile.
const GUEST_LIMIT: Duration = Duration::from_secs(1);
/// How long the client that has started a container may read nothing with a full buffer.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Hub {
    clients: RefCell<Vec<Rc<Client>>>,
    outcome: RefCell<Option<Outcome>>,
    exit: RefCell<Option<Frame>>,
    /// Set when the first process has ended: from then on output does not wait for clients.
    ending: Cell<bool>,
    last_output: Cell<Instant>,
    /// For stdout and stderr, the beginning of a line that was sent to clients and is not in the log.
    unfinished: [RefCell<Vec<u8>>; 2],
    /// `None` for an exec: the process belongs to its client, and waits as long as that is connected.
    stall_limit: Option<Duration>,
    /// Signalled by `Go`.
    go: Notify,
    /// The process outlives its client.
    released: Cell<bool>,
    /// Why there are no streams to give.
    refusal: Cell<Option<&'static str>>,
    /// A client has read, or left, or the container ended.
    changed: Notify,
    pub log: RefCell<Log>,
    pub input: Input,
}

impl Hub {
    pub(crate) fn new(log: Log, stall_limit: Option<Duration>) -> Rc<Self> {
        Rc::new(Self {
            clients: RefCell::default(),
            outcome: RefCell::default(),
            exit: RefCell::default(),
            ending: Cell::default(),
            last_output: Cell::new(Instant::now()),
            unfinished: Default::default(),
            stall_limit,
            go: Notify::new(),
            released: Cell::default(),
            refusal: Cell::default(),
            changed: Notify::new(),
            log: RefCell::new(log),
            input: Input::default(),
        })
    }

    pub(crate) fn join(&self, client: Rc<Client>) {
        self.clients.borrow_mut().push(client);
    }

    /// From here on clients that ask for streams get this refusal.
    pub(crate) fn refuse(&self, why: &'static str) {
        self.refusal.set(Some(why));
    }

    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.refusal.get()
    }

    /// Removes a client, whether it left by itself or not.
    pub(crate) fn leave(&self, client: &Rc<Client>) {
        client.cut();
        self.clients.borrow_mut().retain(|other| !Rc::ptr_eq(other, client));
        self.changed.notify_waiters();
    }

    /// Waits until every client has room for more output, cutting off those that make no progress.
    pub(crate) async fn room(&self) {
        while !self.ending.get() {
            let full: Vec<_> = self.clients.borrow().iter().filter(|client| client.is_full()).cloned().collect();
            let Some(stall_limit) = self.stall_limit else {
                if full.is_empty() {
                    return;
                }
                self.changed.notified().await;
                continue;
            };
            let now = Instant::now();
            let mut next = None;
            for client in full {
                let deadline = match client.is_first() {
                    true => client.last_progress() + stall_limit,
                    false => client.full_since() + GUEST_LIMIT,
                };
                if deadline <= now {
                    eprintln!("isulad-shim: a client that takes no output is cut off");
                    self.leave(&client);
                } else {
                    next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
                }
            }
            match next {
                Some(deadline) => drop(tokio::time::timeout_at(deadline, self.changed.notified()).await),
                None => return,
            }
        }
    }

    /// Sends output to every client that wants this stream.
    pub(crate) fn output(&self, stream: Stream, bytes: &[u8]) {
        self.last_output.set(Instant::now());
        let mut overflowing = Vec::new();
        for client in self.clients.borrow().iter().filter(|client| client.wants(stream)) {
            if client.outstanding() <= CLIENT_MAXIMUM {
                client.send_output(stream, bytes);
            } else if self.stall_limit.is_some() {
                overflowing.push(client.clone());
            }
            // An exec's process has ended and a background process writes without end: its output is dropped, so that
            // the client still gets the status.
        }
        overflowing.iter().for_each(|client| self.leave(client));
    }

    /// Records the part of the sent output that is not in the log, and sends positions to clients that follow. Call it
    /// after the output was taken from the container, since another shim continues from there.
    pub(crate) fn record_unfinished(&self, stream: Stream, unfinished: &[u8]) {
        {
            let mut buffer = self.unfinished[stream as usize].borrow_mut();
            // The buffer is freed when a line is finished, as most are.
            if unfinished.is_empty() && buffer.capacity() > 0 {
                *buffer = Vec::new();
            } else {
                buffer.clear();
                buffer.extend_from_slice(unfinished);
            }
        }
        for client in self.clients.borrow().iter().filter(|client| client.follows() && client.wants(stream)) {
            client.send(&self.position(stream, unfinished.len()));
        }
    }

    /// Sends a client that begins to follow its first positions.
    pub(crate) fn send_start(&self, client: &Client, follower: Follower) {
        let streams = || [Stream::Stdout, Stream::Stderr].into_iter().filter(|stream| client.wants(*stream));
        match follower {
            Follower::New => {
                for stream in streams() {
                    client.send(&self.position(stream, self.unfinished[stream as usize].borrow().len()));
                }
            }
            Follower::Returning { .. } => {
                streams().for_each(|stream| client.send(&self.position(stream, 0)));
                streams().for_each(|stream| client.send_output(stream, &self.unfinished[stream as usize].borrow()));
            }
        }
    }

    fn position(&self, stream: Stream, unlogged: usize) -> Frame {
        let number = if stream == Stream::Stdout { kind::STDOUT } else { kind::STDERR };
        // A line is split long before it reaches this size.
        let unlogged = u32::try_from(unlogged).unwrap_or(u32::MAX);
        Frame::Position(Position { stream: number, place: self.log.borrow().place(), unlogged })
    }

    pub(crate) fn progressed(&self) {
        self.changed.notify_waiters();
    }

    /// Sends the outcome of the start to clients that asked for it.
    pub(crate) fn set_outcome(&self, outcome: Outcome) {
        let waiting: Vec<_> =
            self.clients.borrow().iter().filter(|client| client.take_status_request()).cloned().collect();
        for client in waiting {
            client.send(&outcome.clone().into());
        }
        self.outcome.replace(Some(outcome));
    }

    pub(crate) fn answer_status(&self, client: &Client) {
        match &*self.outcome.borrow() {
            Some(outcome) => client.send(&outcome.clone().into()),
            None => client.request_status(),
        }
    }

    pub(crate) fn signal_go(&self) {
        self.go.notify_one();
    }

    /// Waits for the client's `Go`.
    pub(crate) async fn go(&self) {
        self.go.notified().await;
    }

    /// Lets the process of an exec outlive its client, also for a daemon that recovers after a crash.
    pub(crate) fn release(&self) -> io::Result<()> {
        if self.stall_limit.is_some() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a container does not end with its client"));
        }
        std::fs::write(RELEASED, "")?;
        self.released.set(true);
        Ok(())
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released.get()
    }

    /// Waits until there is no client.
    pub(crate) async fn no_clients(&self) {
        while !self.clients.borrow().is_empty() {
            self.changed.notified().await;
        }
    }

    /// The first process has ended: the rest of the output is delivered without waiting.
    pub(crate) fn begin_ending(&self) {
        self.ending.set(true);
        self.last_output.set(Instant::now());
        self.changed.notify_waiters();
    }

    /// Waits for [`Self::begin_ending`].
    pub(crate) async fn ended(&self) {
        while !self.ending.get() {
            self.changed.notified().await;
        }
    }

    pub(crate) fn last_output(&self) -> Instant {
        self.last_output.get()
    }

    /// Sends the last frame to all clients; later ones get it when they connect.
    pub(crate) fn set_exit(&self, status: ExitStatus, at: Option<u64>) {
        let exit = Frame::Exit(status, at);
        self.exit.replace(Some(exit.clone()));
        for client in self.clients.borrow().iter() {
            client.send(&exit);
            client.finish();
        }
    }

    pub(crate) fn exit(&self) -> Option<Frame> {
        self.exit.borrow().clone()
    }

    /// Closes every connection once its outstanding frames are read, within `limit`.
    pub(crate) async fn farewell(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.clients.borrow().iter().for_each(|client| client.finish());
        while !self.clients.borrow().is_empty() {
            if tokio::time::timeout_at(deadline, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}
