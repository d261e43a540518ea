//! Resize of a container's terminal, by any client, attached or not.

use std::time::Duration;

use isulad_shim::control::kind;
use tokio::net::UnixStream;

use super::{ContainerError, Target, Verb, connect};
use crate::engine::Engine;
use crate::session::{Session, SessionEvent, Size};

/// How long a shim may take to answer, which it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn resize(engine: &Engine, target: Target<'_>, size: Size) -> Result<(), ContainerError> {
    let (stream, _) = connect(engine, target, Verb::Resize).await?;
    tokio::time::timeout(PATIENCE, resize_over(stream, size)).await.unwrap_or(Err(ContainerError::ShimSilent))
}

async fn resize_over(stream: UnixStream, size: Size) -> Result<(), ContainerError> {
    let (mut input, mut output) = Session::over(stream).split();
    input.resize(size).await.map_err(|source| ContainerError::Resize { source })?;
    loop {
        match output.next().await {
            SessionEvent::Done(kind::RESIZE) => return Ok(()),
            SessionEvent::Refused(_, message) => return Err(ContainerError::ShimRefused { message }),
            SessionEvent::Exited(_) | SessionEvent::Lost => return Err(ContainerError::ShimLeft),
            SessionEvent::Stdout(_)
            | SessionEvent::Stderr(_)
            | SessionEvent::Ready(_)
            | SessionEvent::Failed(_)
            | SessionEvent::Done(_) => {}
        }
    }
}
