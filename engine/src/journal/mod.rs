//! The engine's side of the journal: events of containers, not bytes.

pub(crate) mod recent;
pub(crate) mod record;
mod removed;

pub(crate) use removed::removed;

use record::{Actor, Context, OperationId};

impl Context {
    /// A new operation. Name and image are filled in when an event is recorded.
    pub(crate) fn new(actor: Actor) -> Self {
        let mut operation = [0; 8];
        // Ids only tie log lines and events together: without randomness they are zero, with no other consequence.
        let _ = getrandom::fill(&mut operation);
        Self { actor, operation: OperationId(operation), name: String::new(), image: String::new() }
    }
}
