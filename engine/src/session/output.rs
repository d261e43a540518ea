//! From the process.

use std::io;
use std::sync::Arc;

use isulad_shim::control::{self, HEADER, MAX_PAYLOAD};
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

/// The reading half.
pub struct Output {
    stream: Arc<UnixStream>,
    /// Received, and not yet told from `told` on.
    received: Vec<u8>,
    told: usize,
}

impl Output {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        Self { stream, received: Vec::new(), told: 0 }
    }

    /// The next message. After `Exited` and `Lost` nothing follows. May be cancelled: nothing is lost then.
    pub async fn next(&mut self) -> Told {
        loop {
            match self.take() {
                Ok(Some(frame)) => return frame.into(),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a shim sent what it may not send");
                    return Told::Lost;
                }
            }
            if !self.receive().await {
                return Told::Lost;
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

impl From<Frame> for Told {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Stdout(bytes) => Self::Stdout(bytes),
            Frame::Stderr(bytes) => Self::Stderr(bytes),
            Frame::Ready(ready) => Self::Ready(ready),
            Frame::Failed(failed) => Self::Failed(failed),
            Frame::Exit(status, at) => Self::Exited(Exit { status, at }),
            Frame::Ack(request) => Self::Done(request),
            Frame::Error(request, message) => Self::Refused(request, message),
        }
    }
}
