//! One client of a process's streams, over a connected socket of its shim: bytes in, bytes out, the window's size, and
//! the end. Of whoever sits on the other side, a gRPC stream or a streaming server, this knows nothing.
//!
//! Neither half buffers more than a frame: a side that does not take what is for it makes the other one wait, and a
//! client that takes nothing for seconds is cut off by the shim, never waited for.

mod input;
mod output;

use std::io;
use std::sync::Arc;

use isulad_shim::Request;
use isulad_shim::control::{Joined, Streams};
use tokio::net::UnixStream;

pub use input::Input;
pub use output::{Exit, Output, Places, Reached, Told};

/// A connection to a shim. It lasts until both halves are dropped; for an exec that ends its process, for a container
/// only this client.
pub struct Session {
    stream: Arc<UnixStream>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

impl Session {
    /// Over the daemon's end of a socket pair whose other end a shim is started with. That shim takes its client to
    /// want every stream until it is told otherwise.
    pub fn pair() -> io::Result<(Self, std::os::unix::net::UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::over(UnixStream::from_std(ours)?), theirs))
    }

    /// Over a connection to the attach socket.
    pub fn over(stream: UnixStream) -> Self {
        Self { stream: Arc::new(stream) }
    }

    /// Says which streams are wanted, before anything else. From then on it is known how far they were told, see
    /// [`Output::places`].
    pub async fn follow(&self, wanted: Streams, joined: Joined) -> io::Result<()> {
        Input::new(self.stream.clone()).request(&Request::Follow(wanted, joined)).await
    }

    /// The two halves, for two tasks. Dropping the input closes nothing: output may still come.
    pub fn split(self) -> (Input, Output) {
        (Input::new(self.stream.clone()), Output::new(self.stream))
    }
}

impl Size {
    /// What a serial line or a broken client reports for "unknown" is no size: a side of 0, or one that a signed 16-bit
    /// number cannot hold. Programs divide by these, and allocate by them.
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let side = |n: u32| u16::try_from(n).ok().filter(|n| (1..=i16::MAX as u16).contains(n));
        Some(Self { width: side(width)?, height: side(height)? })
    }
}

#[cfg(test)]
mod tests;
