//! Where output meets clients. The container is never held up for long: what a client has not taken yet is bounded,
//! and while a buffer is full the container waits only as long as that client makes progress.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use isulad_shim::control::{Joined, Position, kind};
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
/// Bytes at which a client is cut off even while the container's last words are delivered.
const CLIENT_MAXIMUM: usize = 8 * 1024 * 1024;
/// How long a client that only looks on may have a full buffer, whatever it takes meanwhile.
const GUEST_LIMIT: Duration = Duration::from_secs(1);
/// How long the client that has started a container may take nothing with a full buffer.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Hub {
    clients: RefCell<Vec<Rc<Client>>>,
    outcome: RefCell<Option<Outcome>>,
    exit: RefCell<Option<Frame>>,
    /// From the end of the first process on, nobody waits for clients.
    ending: Cell<bool>,
    last_output: Cell<Instant>,
    /// Of stdout and stderr, the beginning of a line that clients have been given and the log has not.
    unfinished: [RefCell<Vec<u8>>; 2],
    /// `None`: the process is its client's, and waits for it as long as that is there.
    stall_limit: Option<Duration>,
    /// Told by `Go`.
    go: Notify,
    /// The process goes on without its client.
    released: Cell<bool>,
    /// Why there are no streams to give.
    refusal: Cell<Option<&'static str>>,
    /// A client took something, or left, or the container ended.
    changed: Notify,
    pub log: RefCell<Log>,
    pub input: Input,
}

impl Hub {
    pub fn new(log: Log, stall_limit: Option<Duration>) -> Rc<Self> {
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

    pub fn join(&self, client: Rc<Client>) {
        self.clients.borrow_mut().push(client);
    }

    /// From here on clients are told this instead of being given streams.
    pub fn refuse(&self, why: &'static str) {
        self.refusal.set(Some(why));
    }

    pub fn refusal(&self) -> Option<&'static str> {
        self.refusal.get()
    }

    /// A client is gone, by itself or not.
    pub fn leave(&self, client: &Rc<Client>) {
        client.cut();
        self.clients.borrow_mut().retain(|other| !Rc::ptr_eq(other, client));
        self.changed.notify_waiters();
    }

    /// Waits until every client has room for more output, cutting off those that take nothing.
    pub async fn room(&self) {
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

    /// Gives output to whoever wants it.
    pub fn output(&self, stream: Stream, bytes: &[u8]) {
        self.last_output.set(Instant::now());
        let mut beyond = Vec::new();
        for client in self.clients.borrow().iter().filter(|client| client.wants(stream)) {
            if client.outstanding() <= CLIENT_MAXIMUM {
                client.send_output(stream, bytes);
            } else if self.stall_limit.is_some() {
                beyond.push(client.clone());
            }
            // Otherwise its process has ended, and what is left behind writes without end: the status is worth more.
        }
        beyond.iter().for_each(|client| self.leave(client));
    }

    /// Notes what of the output that was given is not in the log, and tells those who follow how far they have come. To be
    /// called when the output was taken from the container: another shim goes on from there.
    pub fn note(&self, stream: Stream, unfinished: &[u8]) {
        {
            let mut kept = self.unfinished[stream as usize].borrow_mut();
            // An empty one has no memory: most lines are finished.
            if unfinished.is_empty() && kept.capacity() > 0 {
                *kept = Vec::new();
            } else {
                kept.clear();
                kept.extend_from_slice(unfinished);
            }
        }
        for client in self.clients.borrow().iter().filter(|client| client.follows() && client.wants(stream)) {
            client.send(&self.position(stream, unfinished.len()));
        }
    }

    /// Says to a client that follows from now on where it has begun.
    pub fn place(&self, client: &Client, joined: Joined) {
        let streams = || [Stream::Stdout, Stream::Stderr].into_iter().filter(|stream| client.wants(*stream));
        match joined {
            Joined::Now => {
                for stream in streams() {
                    client.send(&self.position(stream, self.unfinished[stream as usize].borrow().len()));
                }
            }
            Joined::Before { .. } => {
                streams().for_each(|stream| client.send(&self.position(stream, 0)));
                streams().for_each(|stream| client.send_output(stream, &self.unfinished[stream as usize].borrow()));
            }
        }
    }

    fn position(&self, stream: Stream, beyond: usize) -> Frame {
        let number = if stream == Stream::Stdout { kind::STDOUT } else { kind::STDERR };
        // A line is split long before this is cut.
        let beyond = u32::try_from(beyond).unwrap_or(u32::MAX);
        Frame::Position(Position { stream: number, place: self.log.borrow().place(), beyond })
    }

    pub fn progressed(&self) {
        self.changed.notify_waiters();
    }

    /// Tells how the start went to those who asked.
    pub fn set_outcome(&self, outcome: Outcome) {
        let waiting: Vec<_> = self.clients.borrow().iter().filter(|client| client.take_question()).cloned().collect();
        for client in waiting {
            client.send(&outcome.clone().into());
        }
        self.outcome.replace(Some(outcome));
    }

    pub fn answer_status(&self, client: &Client) {
        match &*self.outcome.borrow() {
            Some(outcome) => client.send(&outcome.clone().into()),
            None => client.ask(),
        }
    }

    pub fn tell_go(&self) {
        self.go.notify_one();
    }

    /// Waits for the client's `Go`.
    pub async fn go(&self) {
        self.go.notified().await;
    }

    /// Lets the process of an exec outlive its client, also for who comes after a crash of the daemon.
    pub fn release(&self) -> io::Result<()> {
        if self.stall_limit.is_some() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a container does not end with its client"));
        }
        std::fs::write(RELEASED, "")?;
        self.released.set(true);
        Ok(())
    }

    pub fn is_released(&self) -> bool {
        self.released.get()
    }

    /// Waits until there is no client.
    pub async fn deserted(&self) {
        while !self.clients.borrow().is_empty() {
            self.changed.notified().await;
        }
    }

    /// The first process is gone: the rest of the output is delivered without waiting.
    pub fn begin_ending(&self) {
        self.ending.set(true);
        self.last_output.set(Instant::now());
        self.changed.notify_waiters();
    }

    /// Waits for that.
    pub async fn ended(&self) {
        while !self.ending.get() {
            self.changed.notified().await;
        }
    }

    pub fn last_output(&self) -> Instant {
        self.last_output.get()
    }

    /// The last frame for everybody, also for those who come late.
    pub fn set_exit(&self, status: ExitStatus, at: Option<u64>) {
        let exit = Frame::Exit(status, at);
        self.exit.replace(Some(exit.clone()));
        for client in self.clients.borrow().iter() {
            client.send(&exit);
            client.finish();
        }
    }

    pub fn exit(&self) -> Option<Frame> {
        self.exit.borrow().clone()
    }

    /// Ends every conversation once it has taken what is there, within `limit`.
    pub async fn farewell(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.clients.borrow().iter().for_each(|client| client.finish());
        while !self.clients.borrow().is_empty() {
            if tokio::time::timeout_at(deadline, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}
