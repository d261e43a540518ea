//! Output of a session: messages from the shim to its client, and the delivered position of each output.

use std::io;
use std::sync::Arc;

use isulad_shim::control::{self, HEADER, LogPlace, MAX_PAYLOAD, Position, Streams, kind};
use isulad_shim::{ExitStatus, Failed, Frame, FrameError, Ready};
use tokio::net::UnixStream;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub status: ExitStatus,
    /// Nanoseconds since 1970; known of execs only.
    pub at: Option<u64>,
}

/// A message from a shim to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The process was started: the answer to the client that asked for it.
    Ready(Ready),
    /// The process could not be started.
    Failed(Failed),
    /// A request was fulfilled; its kind, see [`control::kind`].
    Done(u8),
    /// A request was refused: its kind and the reason.
    Refused(u8, String),
    /// The process has ended, and all its output was delivered before.
    Exited(Exit),
    /// The shim has left without a message, or cut this client off because it read nothing. The state of the process is
    /// not known.
    Lost,
}

/// The delivered position of one output, as a place in the container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub place: LogPlace,
    /// Bytes of this output behind the place that were delivered already.
    pub beyond: u64,
}

/// The delivered positions of both outputs. `None`: not known, or not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Places {
    pub stdout: Option<Reached>,
    pub stderr: Option<Reached>,
}

/// The reading half.
pub(crate) struct Output {
    stream: Arc<UnixStream>,
    places: Places,
    /// Bytes of each output that another session has delivered already, and that this one leaves out.
    skip: [u64; 2],
    /// The process has all input, and its end.
    input_delivered: bool,
    /// Received bytes, of which those from `consumed` on are not delivered yet.
    received: Vec<u8>,
    consumed: usize,
}

impl Output {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        Self {
            stream,
            places: Places::default(),
            skip: [0; 2],
            input_delivered: false,
            received: Vec::new(),
            consumed: 0,
        }
    }

    /// The position of the delivered output; known of a session that follows.
    pub(crate) fn places(&self) -> Places {
        let with = |reached: Option<Reached>, skip| {
            reached.map(|Reached { place, beyond }| Reached { place, beyond: beyond + skip })
        };
        let [stdout, stderr] = self.skip;
        Places { stdout: with(self.places.stdout, stdout), stderr: with(self.places.stderr, stderr) }
    }

    /// Leaves out the next bytes of each output.
    pub(crate) fn skip(&mut self, stdout: u64, stderr: u64) {
        self.skip = [stdout, stderr];
    }

    pub(crate) fn input_delivered(&self) -> bool {
        self.input_delivered
    }

    /// Waits for the positions at which a session that follows begins. Another message in their place is returned as
    /// the error.
    pub(crate) async fn placed(&mut self, wanted: Streams) -> Result<(), SessionEvent> {
        let mut left = u8::from(wanted.stdout) + u8::from(wanted.stderr);
        while left > 0 {
            match self.frame().await {
                Some(Frame::Position(position)) => {
                    self.places.take_in(position);
                    left -= 1;
                }
                Some(frame) => return Err(frame.into()),
                None => return Err(SessionEvent::Lost),
            }
        }
        Ok(())
    }

    /// The next message. Nothing follows `Exited` and `Lost`. Cancelling the call loses nothing.
    pub(crate) async fn next(&mut self) -> SessionEvent {
        loop {
            match self.frame().await {
                Some(Frame::Position(position)) => self.places.take_in(position),
                Some(frame) => {
                    if let Some(event) = self.deliver(frame) {
                        return event;
                    }
                    // All bytes of the frame are left out.
                }
                None => return SessionEvent::Lost,
            }
        }
    }

    fn deliver(&mut self, mut frame: Frame) -> Option<SessionEvent> {
        let [skip_stdout, skip_stderr] = &mut self.skip;
        let is_news = match &mut frame {
            Frame::Stdout(bytes) => Places::advance(&mut self.places.stdout, bytes, skip_stdout),
            Frame::Stderr(bytes) => Places::advance(&mut self.places.stderr, bytes, skip_stderr),
            Frame::Ack(kind::CLOSE_STDIN) => {
                self.input_delivered = true;
                true
            }
            Frame::Ready(_)
            | Frame::Failed(_)
            | Frame::Exit(..)
            | Frame::Position(_)
            | Frame::Ack(_)
            | Frame::Error(..) => true,
        };
        is_news.then(|| frame.into())
    }

    /// The next frame; `None` after the last one, and after an invalid one.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.take() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a shim sent an invalid frame");
                    return None;
                }
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// A frame that is complete; `None` while the rest of it is still to come.
    fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let waiting = &self.received[self.consumed..];
        let Some(header) = waiting.first_chunk::<HEADER>() else { return Ok(None) };
        let (kind, length) = control::parse_header(*header)?;
        let Some(payload) = waiting.get(HEADER..HEADER + length) else { return Ok(None) };
        let frame = Frame::decode(kind, payload.to_vec())?;
        self.consumed += HEADER + length;
        Ok(Some(frame))
    }

    /// Receives more; false at the end.
    async fn receive(&mut self) -> bool {
        self.received.drain(..self.consumed);
        self.consumed = 0;
        self.received.reserve(HEADER + MAX_PAYLOAD);
        loop {
            if self.stream.readable().await.is_err() {
                return false;
            }
            match self.stream.try_read_buf(&mut self.received) {
                Ok(count) => return count > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }
}

impl Places {
    fn take_in(&mut self, position: Position) {
        let reached = position.place.map(|place| Reached { place, beyond: position.unlogged.into() });
        match position.stream {
            kind::STDOUT => self.stdout = reached,
            kind::STDERR => self.stderr = reached,
            // An output that this release does not know.
            _ => {}
        }
    }

    /// Advances the position by the bytes and removes those that are left out; false when none are left.
    fn advance(reached: &mut Option<Reached>, bytes: &mut Vec<u8>, skip: &mut u64) -> bool {
        if let Some(reached) = reached {
            reached.beyond += bytes.len() as u64;
        }
        let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *skip -= skipped as u64;
        bytes.drain(..skipped);
        skipped == 0 || !bytes.is_empty()
    }
}

impl From<Frame> for SessionEvent {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Stdout(bytes) => Self::Stdout(bytes),
            Frame::Stderr(bytes) => Self::Stderr(bytes),
            Frame::Ready(ready) => Self::Ready(ready),
            Frame::Failed(failed) => Self::Failed(failed),
            Frame::Exit(status, at) => Self::Exited(Exit { status, at }),
            // Delivered by [`Output::places`] instead.
            Frame::Position(_) => Self::Done(kind::POSITION),
            Frame::Ack(request) => Self::Done(request),
            Frame::Error(request, message) => Self::Refused(request, message),
        }
    }
}
