//! One connection of the attach socket: a task reads requests, a task writes outstanding frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use isulad_shim::control::{self, Follower, HEADER, Streams, kind};
use isulad_shim::{Frame, FrameError, Request};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Stream;
use super::hub::{CLIENT_LIMIT, Hub};

pub(crate) struct Client {
    stream: UnixStream,
    streams: Cell<Streams>,
    /// Frames not yet handed to the writing task.
    queue: RefCell<Vec<u8>>,
    outstanding: Cell<usize>,
    progress: Cell<Instant>,
    /// Since when the queue has been above half of its limit; without meaning while it is below.
    full_since: Cell<Instant>,
    /// This client has started the process, and may hold it up.
    first: Cell<bool>,
    /// It is sent positions in the log.
    follows: Cell<bool>,
    status_requested: Cell<bool>,
    finishing: Cell<bool>,
    gone: Cell<bool>,
    wake: Notify,
}

/// Takes connections for as long as the shim lives.
pub(crate) async fn accept(listener: UnixListener, hub: Rc<Hub>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => join(stream, Streams::default(), false, &hub),
            Err(error) => {
                // Most likely out of descriptors: some will be closed again.
                eprintln!("isulad-shim: cannot accept a client: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Starts serving a connection; `first` marks the client that has started the process.
pub(crate) fn join(stream: UnixStream, streams: Streams, first: bool, hub: &Rc<Hub>) {
    let client = Rc::new(Client {
        stream,
        streams: Cell::new(streams),
        queue: RefCell::default(),
        outstanding: Cell::default(),
        progress: Cell::new(Instant::now()),
        full_since: Cell::new(Instant::now()),
        first: Cell::new(first),
        follows: Cell::default(),
        status_requested: Cell::default(),
        finishing: Cell::default(),
        gone: Cell::default(),
        wake: Notify::new(),
    });
    hub.join(client.clone());
    if let Some(exit) = hub.exit() {
        client.send(&exit);
        client.finish();
    }
    spawn_local(write(client.clone(), hub.clone()));
    spawn_local(read(client, hub.clone()));
}

impl Client {
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        let streams = self.streams.get();
        match stream {
            Stream::Stdout => streams.stdout,
            Stream::Stderr => streams.stderr,
        }
    }

    /// Bytes that the client has not read yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.get()
    }

    pub(crate) fn last_progress(&self) -> Instant {
        self.progress.get()
    }

    pub(crate) fn is_first(&self) -> bool {
        self.first.get()
    }

    pub(crate) fn follows(&self) -> bool {
        self.follows.get()
    }

    fn follow(&self, streams: Streams, follower: Follower, hub: &Hub) {
        self.streams.set(streams);
        self.follows.set(true);
        if follower == (Follower::Returning { first: true }) {
            self.first.set(true);
        }
        hub.send_start(self, follower);
    }

    /// Whether the container has to wait for it.
    pub(crate) fn is_full(&self) -> bool {
        self.outstanding.get() >= CLIENT_LIMIT
    }

    /// Since when the queue has been above half of its limit.
    pub(crate) fn full_since(&self) -> Instant {
        self.full_since.get()
    }

    pub(crate) fn send(&self, frame: &Frame) {
        self.queue(|queue| frame.encode(queue));
    }

    pub(crate) fn send_output(&self, stream: Stream, bytes: &[u8]) {
        let kind = if stream == Stream::Stdout { kind::STDOUT } else { kind::STDERR };
        self.queue(|queue| {
            for chunk in bytes.chunks(control::MAX_PAYLOAD) {
                queue.extend_from_slice(&control::header(kind, chunk.len()));
                queue.extend_from_slice(chunk);
            }
        });
    }

    fn queue(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        // Nothing follows the exit frame.
        if self.gone.get() || self.finishing.get() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let before = queue.len();
        fill(&mut queue);
        if self.outstanding.get() == 0 {
            self.progress.set(Instant::now());
        }
        // The limit is halved here: a client that is kept just below it is as slow as one above it.
        if self.outstanding.get() < CLIENT_LIMIT / 2 {
            self.full_since.set(Instant::now());
        }
        self.outstanding.set(self.outstanding.get() + queue.len() - before);
        self.wake.notify_one();
    }

    /// Asks for the outcome, to be sent as soon as it is known.
    pub(crate) fn request_status(&self) {
        self.status_requested.set(true);
    }

    pub(crate) fn take_status_request(&self) -> bool {
        self.status_requested.take()
    }

    /// Closes the connection once all outstanding frames are read.
    pub(crate) fn finish(&self) {
        self.finishing.set(true);
        self.wake.notify_one();
    }

    /// Closes the connection now; both tasks notice.
    pub(crate) fn cut(&self) {
        if !self.gone.replace(true) {
            let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
            self.wake.notify_one();
        }
    }

    async fn send_all(&self, bytes: &[u8], hub: &Hub) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            self.stream.ready(Interest::WRITABLE).await?;
            match self.stream.try_write(&bytes[sent..]) {
                Ok(count) => {
                    sent += count;
                    self.outstanding.set(self.outstanding.get() - count);
                    self.progress.set(Instant::now());
                    hub.progressed();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Request>, FrameError> {
        let mut head = [0; HEADER];
        if !self.fill(&mut head).await.map_err(FrameError::Io)? {
            return Ok(None);
        }
        let (kind, length) = control::parse_header(head)?;
        let mut payload = vec![0; length];
        if length > 0 && !self.fill(&mut payload).await.map_err(FrameError::Io)? {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Request::decode(kind, payload).map(Some)
    }

    /// Returns when the other side has closed its writing side, even if bytes before that are still unread.
    async fn hung_up(&self) {
        // No client sends urgent data, so the only event left of this interest is the hang-up.
        let _ = self.stream.ready(Interest::PRIORITY).await;
    }

    /// Reads exactly as much; false at an end before the first byte.
    async fn fill(&self, bytes: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < bytes.len() {
            self.stream.ready(Interest::READABLE).await?;
            match self.stream.try_read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

async fn write(client: Rc<Client>, hub: Rc<Hub>) {
    loop {
        let bytes = client.queue.take();
        if bytes.is_empty() {
            if client.gone.get() || client.finishing.get() {
                break;
            }
            client.wake.notified().await;
        } else if client.send_all(&bytes, &hub).await.is_err() {
            break;
        }
    }
    hub.leave(&client);
}

/// A client that shuts down its writing side has left; the end of input alone is sent as `CloseStdin`.
async fn read(client: Rc<Client>, hub: Rc<Hub>) {
    loop {
        match client.receive().await {
            Ok(Some(Request::Stdin(bytes))) => {
                if !deliver(bytes, &client, &hub).await {
                    break;
                }
            }
            Ok(Some(request)) => handle(request, &client, &hub),
            Ok(None) | Err(FrameError::Io(_)) => break,
            Err(error) => {
                eprintln!("isulad-shim: a client is cut off: {error}");
                break;
            }
        }
    }
    if client.streams.get().stdin {
        hub.input.client_left();
    }
    // After the exit a client may close its writing side and still read: outstanding frames are then delivered.
    if !client.finishing.get() {
        hub.leave(&client);
    }
}

/// Input waits for the container, and later requests wait behind it. A client that hangs up meanwhile is not kept for
/// it. Returns false when there is no room for the input it has left.
async fn deliver(bytes: Vec<u8>, client: &Client, hub: &Hub) -> bool {
    tokio::select! {
        biased;
        room = hub.input.room() => {
            if room {
                hub.input.push(bytes);
            }
            true
        }
        () = client.hung_up() => hub.input.push_left(bytes),
    }
}

fn handle(request: Request, client: &Rc<Client>, hub: &Hub) {
    let (kind, result) = match request {
        Request::Hello(streams) => match hub.refusal() {
            None => return client.streams.set(streams),
            Some(refusal) => (kind::HELLO, Err(std::io::Error::other(refusal))),
        },
        Request::Follow(streams, follower) => match hub.refusal() {
            None => return client.follow(streams, follower, hub),
            Some(refusal) => (kind::HELLO, Err(std::io::Error::other(refusal))),
        },
        Request::Stdin(bytes) => return hub.input.push(bytes),
        Request::Status => return hub.answer_status(client),
        Request::Go => {
            hub.answer_status(client);
            return hub.signal_go();
        }
        Request::CloseStdin => match hub.input.close() {
            // Acknowledged when the container has all input.
            Ok(()) => return hub.input.ack_end(client.clone()),
            refused => (kind::CLOSE_STDIN, refused),
        },
        Request::Resize { width, height } => (kind::RESIZE, hub.input.resize(width, height)),
        Request::Release => (kind::RELEASE, hub.release()),
        Request::ReopenLog => (kind::REOPEN_LOG, hub.log.borrow_mut().reopen()),
    };
    client.send(&match result {
        Ok(()) => Frame::Ack(kind),
        Err(error) => Frame::Error(kind, error.to_string()),
    });
}
