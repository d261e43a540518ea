//! From writers, which block, to asynchronous senders: pieces of an archive on their way to a client.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Large enough for few messages, small enough for little memory.
const PIECE: usize = 256 << 10;
const IN_FLIGHT: usize = 4;

/// The writing side: a writer for a thread that may block. Every use ends with [`Outlet::finish`]: without it, as after
/// a panic, the stream ends with an error, so that no receiver takes a part for the whole.
#[derive(Debug)]
pub(super) struct Outlet {
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    piece: BytesMut,
    is_finished: bool,
}

pub(super) fn outlet() -> (Outlet, mpsc::Receiver<Result<Bytes, io::Error>>) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    (Outlet { sender, piece: BytesMut::with_capacity(PIECE), is_finished: false }, receiver)
}

impl Outlet {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Ends the stream: sends the rest, or the error that ended the writing.
    pub(super) fn finish(mut self, outcome: io::Result<()>) {
        self.is_finished = true;
        let outcome = outcome.and_then(|()| self.send());
        if let Err(error) = outcome {
            let _ = self.sender.blocking_send(Err(error));
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if !self.is_finished {
            // The receiver may have gone.
            let _ = self.sender.blocking_send(Err(io::Error::other("the work that wrote it ended abnormally")));
        }
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn written_bytes_arrive_in_pieces() {
        let (mut outlet, mut receiver) = outlet();
        let writing = tokio::task::spawn_blocking(move || {
            let outcome = (0..3).try_for_each(|byte| outlet.write_all(&vec![byte; PIECE / 2 + 1]));
            outlet.finish(outcome);
        });
        let mut total = Vec::new();
        while let Some(piece) = receiver.recv().await {
            total.extend_from_slice(&piece.unwrap());
        }
        writing.await.unwrap();
        assert_eq!(total.len(), 3 * (PIECE / 2 + 1));
        assert!(total.is_sorted());
    }

    #[tokio::test]
    async fn a_failure_is_sent_and_a_lost_client_ends_the_work() {
        let (outlet, mut receiver) = super::outlet();
        tokio::task::spawn_blocking(move || outlet.finish(Err(io::ErrorKind::StorageFull.into()))).await.unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap_err().kind(), io::ErrorKind::StorageFull);
        let (mut outlet, receiver) = super::outlet();
        drop(receiver);
        let writing = tokio::task::spawn_blocking(move || {
            let outcome = outlet.write_all(&vec![0; 2 * PIECE]);
            outlet.finish(Ok(()));
            outcome
        });
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_panic_of_the_writer_is_an_error_of_the_stream() {
        let (mut outlet, mut receiver) = super::outlet();
        let writing = tokio::task::spawn_blocking(move || {
            outlet.write_all(&vec![0; PIECE]).unwrap();
            panic!("as the test wants");
        });
        assert_eq!(receiver.recv().await.unwrap().unwrap().len(), PIECE);
        assert!(receiver.recv().await.unwrap().is_err());
        assert!(receiver.recv().await.is_none() && writing.await.is_err());
    }
}
