//! Clients that wait for a requested start, to be attached from its first byte.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ContainerEffects;
use crate::domain::id::ContainerId;
use crate::journal::record::OperationId;
use crate::session::Size;

/// A client that is to be attached from a container's first byte.
#[derive(Debug)]
pub(crate) struct FirstClient {
    /// The shim's end.
    pub socket: OwnedFd,
    /// The size of its terminal; the container's has it from the beginning.
    pub size: Option<Size>,
}

/// The clients, each by the operation that asks for the start.
#[derive(Debug, Default)]
pub(super) struct FirstClients(Mutex<HashMap<(ContainerId, OperationId), FirstClient>>);

impl ContainerEffects {
    /// Leaves a client for the launch that this operation asks for.
    pub(crate) fn put_first_client(&self, id: ContainerId, operation: OperationId, client: FirstClient) {
        lock(&self.first_clients.0).insert((id, operation), client);
    }

    /// This operation's client, if it left one. A launch never takes another operation's.
    pub(crate) fn take_first_client(&self, id: &ContainerId, operation: OperationId) -> Option<FirstClient> {
        lock(&self.first_clients.0).remove(&(*id, operation))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
