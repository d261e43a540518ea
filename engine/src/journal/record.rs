//! Converts between the domain's types and the stored shapes: the only place that knows both.
//!
//! Texts of unbounded origin (a path, an image's name, an error message) are cut here as a last resort, so that no
//! event and no row ever reaches the journal's limit for a value: an event that cannot be stored would be a lost fact.

mod codec;
mod event;
mod image;
mod row;
#[cfg(test)]
mod tests;
mod volume;

use std::fmt;

use migrations::codec::Malformed;
use migrations::v1::{ActorV1, ContextV1, ProcessV1};
use migrations::{Shape, UpcastError};
use store::StreamId;

use crate::domain::container::Card;
use crate::domain::id::Process;
use crate::domain::text::cut;

pub(crate) use codec::Codec;

/// Bytes kept of an executable's path.
const EXE_LIMIT: usize = 512;
/// Bytes kept of a name. Valid names are never longer.
const NAME_LIMIT: usize = 255;

/// The origin of an event: actor and operation, and the name of its container, image or volume for later readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub actor: Actor,
    pub operation: OperationId,
    /// The container's name and image at the time: an event is read long after its container is gone. For an image only
    /// `image` is set, for a volume only `name`.
    pub name: String,
    pub image: String,
}

/// The origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A process at the socket.
    Peer {
        uid: u32,
        pid: u32,
        exe: String,
    },
    RestartPolicy,
    Recovery,
    Engine,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer { uid, pid, exe } => write!(f, "uid={uid} pid={pid} exe={exe}"),
            Self::RestartPolicy => f.write_str("restart-policy"),
            Self::Recovery => f.write_str("recovery"),
            Self::Engine => f.write_str("engine"),
        }
    }
}

/// One request and all that follows from it: its events and log lines carry the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OperationId(pub [u8; 8]);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A stored event or row cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Of a newer program, or not of this kind of stream at all: to be skipped, not repaired.
    #[error("{what} of stream `{stream}` is of a kind that this program does not know")]
    UnknownKind { what: Shape, stream: StreamId },
    /// Written by a newer program in a newer shape.
    #[error("{what} of stream `{stream}` has schema {found}, this program knows up to {known}")]
    NewerSchema { what: Shape, stream: StreamId, found: u16, known: u16 },
    /// The checksum matches, but the bytes are not of the kind that they name.
    #[error("{what} of stream `{stream}` is damaged")]
    Damaged {
        what: Shape,
        stream: StreamId,
        #[source]
        problem: Problem,
    },
}

/// The problem with damaged bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Shape(#[from] Malformed),
    #[error(transparent)]
    Upcast(#[from] UpcastError),
    #[error("the stream's id is not one of its kind")]
    StreamId,
    #[error("`{text}` is not a name")]
    Name { text: String },
    #[error("the last end is said to be the phase's, which has none")]
    LastEnd,
}

fn store_context(context: &Context) -> ContextV1 {
    ContextV1 {
        actor: match &context.actor {
            Actor::Peer { uid, pid, exe } => {
                ActorV1::Peer { uid: *uid, pid: *pid, exe: cut(exe, EXE_LIMIT).to_owned() }
            }
            Actor::RestartPolicy => ActorV1::RestartPolicy,
            Actor::Recovery => ActorV1::Recovery,
            Actor::Engine => ActorV1::Engine,
        },
        operation: context.operation.0,
        name: cut(&context.name, NAME_LIMIT).to_owned(),
        image: cut(&context.image, Card::IMAGE_LIMIT).to_owned(),
    }
}

fn load_context(stored: ContextV1) -> Context {
    Context {
        actor: match stored.actor {
            ActorV1::Peer { uid, pid, exe } => Actor::Peer { uid, pid, exe },
            ActorV1::RestartPolicy => Actor::RestartPolicy,
            ActorV1::Recovery => Actor::Recovery,
            ActorV1::Engine => Actor::Engine,
        },
        operation: OperationId(stored.operation),
        name: stored.name,
        image: stored.image,
    }
}

fn store_process(process: &Process) -> ProcessV1 {
    ProcessV1 { pid: process.pid, start_time: process.start_time }
}

fn load_process(stored: ProcessV1) -> Process {
    Process { pid: stored.pid, start_time: stored.start_time }
}
