//! Input of a session: bytes, sizes and signals from a client to the process.

use std::io;
use std::sync::Arc;

use isulad_shim::Request;
use isulad_shim::control::MAX_PAYLOAD;
use tokio::net::UnixStream;

use super::Size;

/// The writing half. Each call returns when the socket has taken its request, which is as soon as the process, or the
/// shim's small buffer for it, makes room. A call that is cancelled midway loses nothing and leaves no half frame: the
/// rest of its request is sent with the next call. After an error this half is at its end; the reading half gives the
/// reason.
pub(crate) struct Input {
    stream: Arc<UnixStream>,
    /// Encoded frames, of which `sent` bytes are sent.
    frames: Vec<u8>,
    sent: usize,
}

impl Input {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        Self { stream, frames: Vec::new(), sent: 0 }
    }

    /// Bytes for the process to read.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(MAX_PAYLOAD) {
            self.request(&Request::Stdin(chunk.to_vec())).await?;
        }
        Ok(())
    }

    /// Ends the input: the process reads an end of file after the bytes that were written. Output goes on. Where the
    /// input has no end, as a terminal's, nothing happens.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.request(&Request::CloseStdin).await
    }

    /// Sets the size of the terminal. Nothing happens where there is none.
    pub(crate) async fn resize(&mut self, size: Size) -> io::Result<()> {
        self.request(&Request::Resize { width: size.width, height: size.height }).await
    }

    /// Sends any request of the protocol; its answer comes with the output.
    pub(crate) async fn request(&mut self, request: &Request) -> io::Result<()> {
        self.flush().await?;
        request.encode(&mut self.frames);
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.frames.len() {
            self.stream.writable().await?;
            match self.stream.try_write(&self.frames[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.frames.clear();
        self.sent = 0;
        Ok(())
    }
}
