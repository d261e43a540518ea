//! Records attached clients, and the length of their sessions, in the journal.

use std::sync::Arc;
use std::time::Instant;

use super::{ContainerError, Verb};
use crate::domain::container::Command;
use crate::domain::id::{ContainerId, SessionId};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::ledger::Queue;
use crate::records::{Entity, SessionGuard};

/// Guards an attached client: a removal waits until it is dropped. Once the beginning is recorded, dropping the guard
/// records the end, in the background, unless that was done before: a client that leaves, a failed connection and a
/// failed start all do so. Sessions that a killed daemon left open are ended by recovery, see `crate::recovery`.
#[derive(Debug)]
pub(crate) struct AttachGuard {
    engine: Arc<Engine>,
    id: ContainerId,
    context: Context,
    session: SessionId,
    stdin: bool,
    tty: bool,
    since: Option<Instant>,
    presence: Option<SessionGuard>,
}

impl AttachGuard {
    /// Makes a guard that has recorded nothing yet.
    pub(crate) fn new(
        engine: &Arc<Engine>,
        entity: &Entity,
        context: &Context,
        stdin: bool,
        tty: bool,
    ) -> Result<Self, ContainerError> {
        let mut guard = Self::for_new(engine, entity.state.id, context, stdin, tty)?;
        guard.presence = Some(entity.session_guard());
        Ok(guard)
    }

    /// The same for a container that is still to be made.
    pub(crate) fn for_new(
        engine: &Arc<Engine>,
        id: ContainerId,
        context: &Context,
        stdin: bool,
        tty: bool,
    ) -> Result<Self, ContainerError> {
        let mut session = [0; 8];
        getrandom::fill(&mut session).map_err(ContainerError::NoId)?;
        let (engine, context, session) = (engine.clone(), context.clone(), SessionId(session));
        Ok(Self { engine, id, context, session, stdin, tty, since: None, presence: None })
    }

    /// Records the beginning; rejected for a container that is paused or not running.
    pub(crate) async fn begin(&mut self, reference: &str) -> Result<(), ContainerError> {
        let asked =
            self.engine.containers.ask(Queue::Commands, &self.id, &self.context, || vec![self.command(false)]).await;
        asked.map_err(|error| ContainerError::of_turn(error, Verb::Attach, reference))?;
        self.recorded();
        Ok(())
    }

    /// The command that records the beginning. `starting`: along with the start that this client asked for.
    pub(crate) fn command(&self, starting: bool) -> Command {
        Command::BeginAttach { session: self.session, stdin: self.stdin, tty: self.tty, starting }
    }

    /// To be called when the command is recorded.
    pub(crate) fn recorded(&mut self) {
        if self.presence.is_none() {
            self.presence = self.engine.containers.get(&self.id).map(|entity| entity.session_guard());
        }
        self.since = Some(Instant::now());
        failpoint::hit(failpoint::ATTACH_RECORDED);
    }

    /// Records the end now. A removal still waits until the guard is dropped.
    pub(crate) fn end(&mut self) {
        let Some(since) = self.since.take() else { return };
        failpoint::hit(failpoint::ATTACH_LEFT);
        let lasted_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let left = Command::ReportDetached { session: self.session, lasted_ms };
        let (engine, id, context, presence) =
            (self.engine.clone(), self.id, self.context.clone(), self.presence.clone());
        self.engine.node.tasks.spawn(async move {
            engine.containers.report(&id, &context, left).await;
            drop(presence);
        });
    }
}

impl Drop for AttachGuard {
    fn drop(&mut self) {
        self.end();
    }
}
