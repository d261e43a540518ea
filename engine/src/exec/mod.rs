//! Further processes in a running container, each held by a shim of its own (see `isulad_shim::exec`).
//!
//! Nothing is run before `ExecStarted` is durable; the shim starts meanwhile. From its directory on an exec has a
//! keeper here (`keep`): a task that learns the exit, records it, and removes the directory, also when the caller is
//! gone. Probes ([`Execs::exec_sync`]) take the same way without the records.
//!
//! A daemon that dies takes the socket of attached execs along, which ends them; `recover` treats the ones that an
//! earlier daemon left. Without a shim no process of an attached exec runs on: its tree is killed. A detached one goes
//! on, and ends unwatched.

mod begin;
mod end_all;
mod error;
mod keep;
mod keepers;
mod places;
mod recover;
mod sync;

use std::sync::Arc;

pub(crate) use crate::spec::Program;
pub(crate) use begin::{Exec, ExecOptions, release};
pub(crate) use end_all::END_ALL_LIMIT;
pub(crate) use error::ExecError;
pub(crate) use keep::DIRECTORY;
pub(crate) use keep::{ended_at, status_of};
pub(crate) use sync::Captured;

use crate::moves::Moves;
use crate::node::Node;
use crate::records::Containers;

/// The execs of all containers.
#[derive(Debug)]
pub(crate) struct Execs {
    node: Arc<Node>,
    containers: Arc<Containers>,
    moves: Arc<Moves>,
    keepers: Arc<keepers::Keepers>,
    places: places::Places,
}

impl Execs {
    pub(crate) fn new(node: Arc<Node>, containers: Arc<Containers>, moves: Arc<Moves>) -> Arc<Self> {
        Arc::new(Self { node, containers, moves, keepers: Arc::default(), places: places::Places::default() })
    }
}
