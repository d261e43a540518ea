//! From asynchronous receivers to unpackers, which block: a short queue of pieces. An end that was not declared is an
//! error, so that interrupted content is never taken for whole.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Pieces on their way: enough to keep both sides busy, little enough to count for nothing.
const IN_FLIGHT: usize = 16;

enum Piece {
    Bytes(Bytes),
    End,
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Feed(mpsc::Sender<Piece>);

/// The other side has stopped reading; it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unwanted;

impl Feed {
    /// Waits while the other side is behind.
    pub(crate) async fn push(&self, bytes: Bytes) -> Result<(), Unwanted> {
        self.0.send(Piece::Bytes(bytes)).await.map_err(|_| Unwanted)
    }

    /// Declares the end: all pieces were pushed.
    pub(crate) async fn end(self) -> Result<(), Unwanted> {
        self.0.send(Piece::End).await.map_err(|_| Unwanted)
    }
}

/// The unpacking side: a reader for a thread that may block.
pub(crate) struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

pub(crate) fn feed() -> (Feed, Pieces) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    (Feed(sender), Pieces { receiver, current: Bytes::new(), ended: false })
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer was interrupted"));
                }
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pushed_pieces_are_read_up_to_the_declared_end() {
        let (feed, mut pieces) = feed();
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            pieces.read_to_end(&mut bytes).map(|_| bytes)
        });
        for _ in 0..100 {
            feed.push(Bytes::from_static(b"abc")).await.unwrap();
        }
        feed.end().await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), b"abc".repeat(100));
    }

    #[tokio::test]
    async fn an_interruption_is_no_end() {
        let (feed, mut pieces) = feed();
        feed.push(Bytes::from_static(b"abc")).await.unwrap();
        drop(feed);
        let reading = tokio::task::spawn_blocking(move || pieces.read_to_end(&mut Vec::new()));
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_noticed() {
        let (feed, pieces) = feed();
        drop(pieces);
        assert_eq!(feed.push(Bytes::new()).await, Err(Unwanted));
    }
}
