//! Shims as the daemon sees them: their answers and their attach socket, their end, and the exits that they or the kernel
//! report.

mod end;
mod exit;
mod wait;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::{Frame, Outcome, Request, StateDir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) use end::{KILL_PATIENCE, end_shim, end_shims_but, end_shims_now, living_shims};
pub(crate) use exit::{to_recorded_exit, to_status};
pub(crate) use wait::{reap, status_by_pidfd};

/// The longest that one execution of the runtime by a shim may take.
pub(crate) const RUNTIME_DEADLINE: Duration = Duration::from_secs(120);

/// Asks a shim how its start went; answered as soon as that is known.
pub(crate) async fn ask_status(state: &StateDir) -> io::Result<Outcome> {
    let mut stream = connect(state).await?;
    let mut bytes = Vec::new();
    Request::Status.encode(&mut bytes);
    stream.write_all(&bytes).await?;
    loop {
        match read_frame(&mut stream).await? {
            Some(Frame::Ready(ready)) => return Ok(Outcome::Ready(ready)),
            Some(Frame::Failed(failed)) => return Ok(Outcome::Failed(failed)),
            Some(_) => {}
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The attach socket of a running container.
pub(crate) async fn connect(state: &StateDir) -> io::Result<UnixStream> {
    let state = Arc::new(state.clone());
    let stream = tokio::task::spawn_blocking(move || state.connect_attach()).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// The next frame; `None` at the end of the stream. Not cancellation safe.
pub(crate) async fn read_frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; isulad_shim::control::HEADER];
    match stream.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let (kind, length) = isulad_shim::control::parse_header(header).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Frame::decode(kind, payload).map(Some).map_err(io::Error::other)
}
