//! Towards the process.

use std::io;
use std::sync::Arc;

use isulad_shim::Request;
use isulad_shim::control::MAX_PAYLOAD;
use tokio::net::UnixStream;

use super::Size;

/// The writing half. Each call returns when the socket has taken what it is about, which is as soon as the process, or
/// the shim's small buffer for it, makes room. A call that is cancelled midway loses nothing and tears no frame: what
/// it had begun goes out with the next one. An error is the end of this half; the other one tells more.
pub struct Input {
    stream: Arc<UnixStream>,
    /// Frames, of which `sent` bytes have gone.
    frames: Vec<u8>,
    sent: usize,
}

impl Input {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        Self { stream, frames: Vec::new(), sent: 0 }
    }

    /// Bytes for the process to read.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(MAX_PAYLOAD) {
            self.request(&Request::Stdin(chunk.to_vec())).await?;
        }
        Ok(())
    }

    /// No more input: the process reads an end of file after what was written. Output goes on. Where the input has no
    /// end, as a terminal's, nothing happens.
    pub async fn close(&mut self) -> io::Result<()> {
        self.request(&Request::CloseStdin).await
    }

    /// A new size of the terminal. Nothing happens where there is none.
    pub async fn resize(&mut self, size: Size) -> io::Result<()> {
        self.request(&Request::Resize { width: size.width, height: size.height }).await
    }

    /// Any request of the protocol, whose answer comes with the output.
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
