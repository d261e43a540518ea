//! One client of a process's streams, over a connected socket of its shim: input, output, the window's size, and the
//! exit. The transport to the client, a gRPC stream or a streaming server, is not known here.
//!
//! Neither half buffers more than a frame: a slow reader on one side makes the writer on the other side wait. The shim
//! cuts off a client that reads nothing for seconds.

mod input;
mod output;

use std::io;
use std::sync::Arc;

use isulad_shim::Request;
use isulad_shim::control::{Follower, Streams};
use tokio::net::UnixStream;

pub(crate) use input::Input;
pub(crate) use output::{Exit, Output, Places, Reached, SessionEvent};

/// A connection to a shim. It lasts until both halves are dropped; for an exec that ends its process, for a container
/// only this client.
pub(crate) struct Session {
    stream: Arc<UnixStream>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub width: u16,
    pub height: u16,
}

impl Session {
    /// Makes a session over one end of a socket pair; a shim is started with the other end. That shim sends every
    /// stream until the session asks for fewer.
    pub(crate) fn pair() -> io::Result<(Self, std::os::unix::net::UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::over(UnixStream::from_std(ours)?), theirs))
    }

    /// Makes a session over a connection to the attach socket.
    pub(crate) fn over(stream: UnixStream) -> Self {
        Self { stream: Arc::new(stream) }
    }

    /// Requests the streams that the client wants, before anything else. From then on the delivered position of each
    /// output is known, see [`Output::places`].
    pub(crate) async fn follow(&self, wanted: Streams, follower: Follower) -> io::Result<()> {
        Input::new(self.stream.clone()).request(&Request::Follow(wanted, follower)).await
    }

    /// Splits the session into its two halves, for two tasks. Dropping the input closes nothing: output may still come.
    pub(crate) fn split(self) -> (Input, Output) {
        (Input::new(self.stream.clone()), Output::new(self.stream))
    }
}

impl Size {
    /// `None` for sizes that serial lines and broken clients report for "unknown": a side of 0, or one that a signed
    /// 16-bit number cannot hold. Programs divide by these numbers, and allocate by them.
    pub(crate) fn new(width: u32, height: u32) -> Option<Self> {
        let side = |n: u32| u16::try_from(n).ok().filter(|n| (1..=i16::MAX as u16).contains(n));
        Some(Self { width: side(width)?, height: side(height)? })
    }
}

#[cfg(test)]
mod tests;
