//! The connections of a socket: at most as many as there are places, and accepted again after a failure.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, UdsConnectInfo};

/// Connections at once, on all sockets together. Each command of `isula` has one, for as long as it lasts.
const CONNECTIONS: usize = 1024;
/// Calls at once on one connection. A client with more waits for one of them to end.
pub(super) const STREAMS: u32 = 512;
/// Between attempts to accept, while the process has no descriptors left, or the kernel no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// ConnectionPlaces for connections, shared by all sockets.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPlaces(Arc<Semaphore>);

impl ConnectionPlaces {
    pub(super) fn new() -> Self {
        Self::with_count(CONNECTIONS)
    }

    fn with_count(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }
}

/// One client's connection, and its place.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

/// The connections that a socket accepts. Never ends and gives no errors: these pass, or concern one client.
pub(super) fn incoming(
    listener: UnixListener,
    places: ConnectionPlaces,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    stream::unfold((listener, places), |(listener, places)| async move {
        let connection = accept(&listener, &places).await;
        Some((Ok(connection), (listener, places)))
    })
}

async fn accept(listener: &UnixListener, places: &ConnectionPlaces) -> Connection {
    // Logged once per accepted connection, not for each of thousands of attempts.
    let (mut failed, mut refused) = (false, false);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::error!(%error, "cannot accept a connection; it is tried again");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = places.0.clone().try_acquire_owned() {
            return Connection { stream, _place: place };
        }
        if !std::mem::replace(&mut refused, true) {
            tracing::warn!(limit = CONNECTIONS, "too many connections: further ones are turned away");
        }
        // Best effort: a client that does not read it still sees that the connection is closed.
        let _ = stream.into_std().and_then(|mut stream| stream.write(&refusal()));
    }
}

/// An empty SETTINGS frame, with which an HTTP/2 server begins, and a GOAWAY with the reason: `ENHANCE_YOUR_CALM`.
fn refusal() -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let reason = format!("isulad: there are {CONNECTIONS} connections already; close some of them").into_bytes();
    let length = u8::try_from(8 + reason.len()).unwrap_or(u8::MAX);
    let goaway = [0, 0, length, 7, 0, 0, 0, 0, 0, /* no stream */ 0, 0, 0, 0, /* the code */ 0, 0, 0, 11];
    [SETTINGS.as_slice(), &goaway, &reason].concat()
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_without_a_place_is_refused_with_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut incoming = Box::pin(incoming(listener, ConnectionPlaces::with_count(1)));
        let _first = UnixStream::connect(&path).await.unwrap();
        let held = incoming.next().await.unwrap().unwrap();
        let mut second = UnixStream::connect(&path).await.unwrap();
        let mut answer = Vec::new();
        tokio::select! {
            read = second.read_to_end(&mut answer) => drop(read.unwrap()),
            _ = incoming.next() => panic!("there is no place"),
        }
        assert!(String::from_utf8_lossy(&answer).ends_with("connections already; close some of them"));
        assert_eq!(usize::from(answer[11]), answer.len() - 18, "the frame is as long as it says");
        drop(held);
        let _third = UnixStream::connect(&path).await.unwrap();
        incoming.next().await.unwrap().unwrap();
    }
}
