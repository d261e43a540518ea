//! Connects to the shim of a running container.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;

use super::{ContainerError, Target, Verb};
use crate::domain::container::Rejection;
use crate::domain::id::StartId;
use crate::engine::Engine;
use crate::shim_process;

/// How long a shim that replaces a lost one may take to listen.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(10);

/// The connection, and the start whose shim it leads to. A lost shim is replaced within moments: that is waited for.
pub(crate) async fn connect(
    engine: &Engine,
    target: Target<'_>,
    verb: Verb,
) -> Result<(UnixStream, StartId), ContainerError> {
    let deadline = tokio::time::Instant::now() + ADOPTION_PATIENCE;
    loop {
        let entity = target.entity(engine)?;
        let Some(run) = entity.state.phase.run() else {
            return Err(ContainerError::of_rejection(Rejection::NotRunning, verb, target.reference));
        };
        let source = match shim_process::connect(&engine.node.state_dir(&entity.state)).await {
            Ok(stream) => return Ok((stream, run.start)),
            Err(error) => error,
        };
        let absent = matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        let changed = engine.containers.changed_since(&target.id, entity.state.version);
        if !absent || tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Err(ContainerError::ShimUnreachable { reference: target.reference.to_owned(), source });
        }
    }
}
