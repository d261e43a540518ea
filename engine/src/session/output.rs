//! From the process.

use std::io;
use std::sync::Arc;

use isulad_shim::control::{self, HEADER, LogPlace, MAX_PAYLOAD, Position, Streams, kind};
use isulad_shim::{ExitStatus, Failed, Frame, FrameError, Ready};
use tokio::net::UnixStream;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub status: ExitStatus,
    /// Nanoseconds since 1970; told of what an exec runs.
    pub at: Option<u64>,
}

/// What a shim says to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The process was started: the answer to who asked for it.
    Ready(Ready),
    /// It was not.
    Failed(Failed),
    /// A request was obeyed; its kind, see [`control::kind`].
    Done(u8),
    /// A request was not, and why.
    Refused(u8, String),
    /// The process has ended, and all its output was told before.
    Exited(Exit),
    /// The shim has left without a word, or cut this client off because it took nothing. What the process does is not known.
    Lost,
}

/// How far one output was told, as a place in the container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub place: LogPlace,
    /// Bytes of this output behind the place that were told already.
    pub beyond: u64,
}

/// The same of both outputs. `None`: not known, or not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places {
    pub stdout: Option<Reached>,
    pub stderr: Option<Reached>,
}

/// The reading half.
pub struct Output {
    stream: Arc<UnixStream>,
    places: Places,
    /// Bytes of each output that were told by another session.
    skip: [u64; 2],
    /// The process has all input, and its end.
    input_delivered: bool,
    /// Received, and not yet told from `told` on.
    received: Vec<u8>,
    told: usize,
}

impl Output {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        Self { stream, places: Places::default(), skip: [0; 2], input_delivered: false, received: Vec::new(), told: 0 }
    }

    /// How far what was told reaches; known of a session that follows.
    pub fn places(&self) -> Places {
        let with = |reached: Option<Reached>, skip| {
            reached.map(|Reached { place, beyond }| Reached { place, beyond: beyond + skip })
        };
        let [stdout, stderr] = self.skip;
        Places { stdout: with(self.places.stdout, stdout), stderr: with(self.places.stderr, stderr) }
    }

    /// Does not tell so many bytes of what comes next.
    pub fn skip(&mut self, stdout: u64, stderr: u64) {
        self.skip = [stdout, stderr];
    }

    pub fn input_delivered(&self) -> bool {
        self.input_delivered
    }

    /// Waits for the places where a session that follows begins. What comes instead is the answer otherwise.
    pub async fn placed(&mut self, wanted: Streams) -> Result<(), Told> {
        let mut left = u8::from(wanted.stdout) + u8::from(wanted.stderr);
        while left > 0 {
            match self.frame().await {
                Some(Frame::Position(position)) => {
                    self.places.take_in(position);
                    left -= 1;
                }
                Some(frame) => return Err(frame.into()),
                None => return Err(Told::Lost),
            }
        }
        Ok(())
    }

    /// The next message. After `Exited` and `Lost` nothing follows. May be cancelled: nothing is lost then.
    pub async fn next(&mut self) -> Told {
        loop {
            match self.frame().await {
                Some(Frame::Position(position)) => self.places.take_in(position),
                Some(frame) => {
                    if let Some(told) = self.tell(frame) {
                        return told;
                    }
                    // All of it was told before.
                }
                None => return Told::Lost,
            }
        }
    }

    fn tell(&mut self, mut frame: Frame) -> Option<Told> {
        let [skip_stdout, skip_stderr] = &mut self.skip;
        let is_news = match &mut frame {
            Frame::Stdout(bytes) => Places::told(&mut self.places.stdout, bytes, skip_stdout),
            Frame::Stderr(bytes) => Places::told(&mut self.places.stderr, bytes, skip_stderr),
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

    /// `None` after the last one.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.take() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a shim sent what it may not send");
                    return None;
                }
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// A frame that has come whole.
    fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let waiting = &self.received[self.told..];
        let Some(header) = waiting.first_chunk::<HEADER>() else { return Ok(None) };
        let (kind, length) = control::parse_header(*header)?;
        let Some(payload) = waiting.get(HEADER..HEADER + length) else { return Ok(None) };
        let frame = Frame::decode(kind, payload.to_vec())?;
        self.told += HEADER + length;
        Ok(Some(frame))
    }

    /// Receives more; false at the end.
    async fn receive(&mut self) -> bool {
        self.received.drain(..self.told);
        self.told = 0;
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
        let reached = position.place.map(|place| Reached { place, beyond: position.beyond.into() });
        match position.stream {
            kind::STDOUT => self.stdout = reached,
            kind::STDERR => self.stderr = reached,
            // One that this release does not know.
            _ => {}
        }
    }

    /// Takes off what is to be skipped; false when nothing is left.
    fn told(reached: &mut Option<Reached>, bytes: &mut Vec<u8>, skip: &mut u64) -> bool {
        if let Some(reached) = reached {
            reached.beyond += bytes.len() as u64;
        }
        let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *skip -= skipped as u64;
        bytes.drain(..skipped);
        skipped == 0 || !bytes.is_empty()
    }
}

impl From<Frame> for Told {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Stdout(bytes) => Self::Stdout(bytes),
            Frame::Stderr(bytes) => Self::Stderr(bytes),
            Frame::Ready(ready) => Self::Ready(ready),
            Frame::Failed(failed) => Self::Failed(failed),
            Frame::Exit(status, at) => Self::Exited(Exit { status, at }),
            // Told of by [`Output::places`].
            Frame::Position(_) => Self::Done(kind::POSITION),
            Frame::Ack(request) => Self::Done(request),
            Frame::Error(request, message) => Self::Refused(request, message),
        }
    }
}
