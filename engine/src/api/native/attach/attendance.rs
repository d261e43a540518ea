//! That somebody was attached, and for how long, in the journal.

use std::sync::Arc;
use std::time::Instant;

use crate::api::native::ApiError;
use crate::api::native::status::Verb;
use crate::containers::{Attending, Entity};
use crate::domain::container::Command;
use crate::domain::id::{ContainerId, SessionId};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::ledger::Queue;

/// A client's presence, whose end a removal waits for. Once its beginning is recorded, dropping it records the end, in the
/// background, unless that was done before: a client that leaves, a connection that fails and a start that comes to nothing
/// all end it. What a killed daemon has not recorded, the next one does, see `crate::recovery`.
#[derive(Debug)]
pub(in crate::api::native) struct Attendance {
    engine: Arc<Engine>,
    id: ContainerId,
    context: Context,
    session: SessionId,
    stdin: bool,
    tty: bool,
    since: Option<Instant>,
    here: Option<Attending>,
}

impl Attendance {
    /// Records nothing yet.
    pub(super) fn new(
        engine: &Arc<Engine>,
        entity: &Entity,
        context: &Context,
        stdin: bool,
        tty: bool,
    ) -> Result<Self, ApiError> {
        let mut attendance = Self::of_new(engine, entity.state.id, context, stdin, tty)?;
        attendance.here = Some(entity.attend());
        Ok(attendance)
    }

    /// At a container that is yet to be made.
    pub(super) fn of_new(
        engine: &Arc<Engine>,
        id: ContainerId,
        context: &Context,
        stdin: bool,
        tty: bool,
    ) -> Result<Self, ApiError> {
        let mut session = [0; 8];
        getrandom::fill(&mut session).map_err(|error| ApiError::failed(format!("cannot make an id: {error}")))?;
        let (engine, context, session) = (engine.clone(), context.clone(), SessionId(session));
        Ok(Self { engine, id, context, session, stdin, tty, since: None, here: None })
    }

    /// Records the beginning; refused for what does not run, or is paused.
    pub(super) async fn begin(&mut self, reference: &str) -> Result<(), ApiError> {
        let asked =
            self.engine.containers.ask(Queue::Commands, &self.id, &self.context, || vec![self.command(false)]).await;
        asked.map_err(|error| ApiError::of_turn(error, Verb::Attach, reference))?;
        self.recorded();
        Ok(())
    }

    /// What records the beginning. `starting`: along with the start that this client asked for.
    pub(in crate::api::native) fn command(&self, starting: bool) -> Command {
        Command::BeginAttach { session: self.session, stdin: self.stdin, tty: self.tty, starting }
    }

    /// The command was obeyed.
    pub(in crate::api::native) fn recorded(&mut self) {
        if self.here.is_none() {
            self.here = self.engine.containers.get(&self.id).map(|entity| entity.attend());
        }
        self.since = Some(Instant::now());
        failpoint::hit(failpoint::ATTACH_RECORDED);
    }

    /// Records the end now. A removal still waits until this is dropped.
    pub(super) fn end(&mut self) {
        let Some(since) = self.since.take() else { return };
        failpoint::hit(failpoint::ATTACH_LEFT);
        let lasted_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let left = Command::ReportDetached { session: self.session, lasted_ms };
        let (engine, id, context, here) = (self.engine.clone(), self.id, self.context.clone(), self.here.clone());
        self.engine.tasks.spawn(async move {
            engine.containers.report(&id, &context, left).await;
            drop(here);
        });
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.end();
    }
}
