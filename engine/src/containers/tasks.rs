//! Work of a verb in tasks of its own.

use super::ContainerError;
use crate::panics::contained;

/// A dropped call does not drop the work: it goes on.
pub(super) async fn uncancelled<T: Send + 'static>(
    work: impl Future<Output = Result<T, ContainerError>> + Send + 'static,
) -> Result<T, ContainerError> {
    finished(tokio::spawn(contained(work)).await)
}

/// Work that waits for the disk, or takes long.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContainerError> + Send + 'static,
) -> Result<T, ContainerError> {
    finished(tokio::task::spawn_blocking(work).await)
}

fn finished<T>(task: Result<Result<T, ContainerError>, tokio::task::JoinError>) -> Result<T, ContainerError> {
    task.unwrap_or_else(|panic| Err(ContainerError::Panicked { message: panic.to_string() }))
}
