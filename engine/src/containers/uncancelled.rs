//! Work that is finished also when its caller gives up.

use super::ContainerError;
use crate::panics::contained;

/// A dropped call does not drop the work: it goes on in a task of its own.
pub(super) async fn uncancelled<T: Send + 'static>(
    work: impl Future<Output = Result<T, ContainerError>> + Send + 'static,
) -> Result<T, ContainerError> {
    let done = tokio::spawn(contained(work)).await;
    done.unwrap_or_else(|panic| Err(ContainerError::Panicked { message: panic.to_string() }))
}
