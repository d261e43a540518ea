//! One attached client, from `started` to `exited`.

use std::convert::Infallible;
use std::time::Duration;

use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, AttachStarted};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::resume::{Resumption, SessionTarget, TERMINAL};
use crate::api::native::container::run_end;
use crate::api::native::relay::{self, RelayEnd};
use crate::containers::{AttachGuard, ending, networks_released};
use crate::domain::container::{End, Event};
use crate::domain::id::Timestamp;
use crate::records::Change;
use crate::session::{Exit, Places, Session, Size};

/// An exit that the shim has reported is recorded soon after.
const EXIT_PATIENCE: Duration = Duration::from_secs(60);
/// How long a client waits for a container that removes itself.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Client {
    sender: relay::Sender<AttachOutput>,
    target: SessionTarget,
    tty: bool,
    events: RunEvents,
    removes_itself: bool,
    guard: Option<AttachGuard>,
}

/// Picks the end of the run from the events.
type Pick = Box<dyn FnMut(&Event) -> Option<End> + Send>;

/// The container's events during the session, as far as its end depends on them.
struct RunEvents {
    changes: mpsc::UnboundedReceiver<Change>,
    pick: Pick,
    end: Option<End>,
    shim_lost: bool,
    /// The time of a new start after the end.
    next_start: Option<Timestamp>,
    /// The container was removed after its end, or will not be.
    settled: bool,
}

impl Client {
    /// `changes` has every event of the container since before the connection.
    pub(super) fn new(
        sender: relay::Sender<AttachOutput>,
        changes: mpsc::UnboundedReceiver<Change>,
        target: SessionTarget,
        (tty, removes_itself): (bool, bool),
        guard: Option<AttachGuard>,
    ) -> Self {
        let entity = target.engine.containers.get(&target.id);
        let run = entity.as_ref().and_then(|entity| entity.state.phase.run());
        let oom = run.is_some_and(|run| run.start == target.start && run.oom);
        let pick = Box::new(ending(target.start, oom));
        let events = RunEvents { changes, pick, end: None, shim_lost: false, next_start: None, settled: false };
        Self { sender, target, tty, events, removes_itself, guard }
    }

    pub(super) async fn serve(
        mut self,
        session: Session,
        mut input: Streaming<AttachInput>,
        open: AttachOpen,
        warnings: Vec<String>,
    ) {
        let started = Output::Started(AttachStarted { warnings });
        if self.sender.send(Ok(AttachOutput { output: Some(started) })).await.is_err() {
            return;
        }
        let mut streams = session.split();
        if let Some(size) = open.size.and_then(|size| Size::new(size.width, size.height)) {
            // Best effort: a shim that is gone is noticed below.
            let _ = streams.0.resize(size).await;
        }
        loop {
            let ended = tokio::select! {
                ended = relay::pump(&mut streams, &mut input, &self.sender, self.target.wanted) => ended,
                // Events are received as they come, since a session may last for months.
                never = follow(&mut self.events, &mut self.guard, self.removes_itself) => match never {},
            };
            match ended {
                RelayEnd::Exited(Exit { status, .. }) => {
                    drop(streams);
                    if !self.finish().await {
                        tracing::warn!(?status, "an exit that the shim has reported is not recorded");
                    }
                }
                // The guard lasts until the client has the missed output: the log is removed with the container.
                RelayEnd::Lost => match self.target.resume(&streams.1, &self.sender).await {
                    Resumption::Connected(next) => {
                        streams = next;
                        continue;
                    }
                    Resumption::RunEnded => self.finish_from_log(streams.1.places()).await,
                    Resumption::Lost(reason) => self.give_up(reason).await,
                },
                RelayEnd::Refused(message) => drop(self.sender.send(Err(Status::failed_precondition(message))).await),
                // The stream's end is the answer.
                RelayEnd::Detached | RelayEnd::ClientGone => self.drop_guard(),
            }
            return;
        }
    }

    /// Ends the session of a run that ended, and its shim with it, before all of the output was passed on.
    async fn finish_from_log(mut self, places: Places) {
        self.events.wait(EXIT_PATIENCE, |events| events.end.is_some()).await;
        self.events.take_pending();
        if let (Some(guard), Some(_)) = (&mut self.guard, &self.events.end) {
            guard.end();
        }
        if self.tty && self.events.shim_lost {
            return self.give_up(TERMINAL.to_owned()).await;
        }
        match self.target.rest(places, self.events.next_start, &self.sender).await {
            Ok(()) => drop(self.finish().await),
            Err(reason) => self.give_up(reason).await,
        }
    }

    /// Ends the session with an error, before the end of the run.
    async fn give_up(mut self, reason: String) {
        self.drop_guard();
        let _ = self.sender.send(Err(Status::data_loss(reason))).await;
    }

    /// Drops the guard, which records the end of the session, also before the last message is sent.
    fn drop_guard(&mut self) {
        self.guard = None;
    }

    /// Sends the end as recorded in the journal, which all other clients get, too; false when it has none.
    async fn finish(mut self) -> bool {
        self.events.wait(EXIT_PATIENCE, |events| events.end.is_some()).await;
        self.drop_guard();
        let last = match &self.events.end {
            Some(end) => Ok(AttachOutput { output: Some(Output::Exited(run_end(end))) }),
            None => Err(Status::unavailable(NOT_RECORDED)),
        };
        let known = last.is_ok();
        if known && self.removes_itself {
            // A script may use the name again at once, so it must be free.
            self.events.wait(REMOVAL_PATIENCE, |events| events.settled).await;
        }
        if let Some(end) = &self.events.end {
            networks_released(&self.target.engine, self.target.id, end.start).await;
        }
        let _ = self.sender.send(last).await;
        known
    }
}

const NOT_RECORDED: &str = "the container has exited, but its exit status could not be recorded";

/// Receives events for as long as it is polled. At the end of the run the end of the session is recorded at once, even
/// if the client still reads missed output: it could not be recorded after the container's removal. A container that
/// removes itself keeps the guard until the client has read the log, which is removed with it; a user's removal does
/// not wait.
async fn follow(events: &mut RunEvents, guard: &mut Option<AttachGuard>, removes_itself: bool) -> Infallible {
    while events.step().await {
        if events.end.is_none() {
            continue;
        }
        match guard {
            Some(guard) if removes_itself => guard.end(),
            Some(_) | None => *guard = None,
        }
    }
    std::future::pending().await
}

impl RunEvents {
    async fn wait(&mut self, patience: Duration, holds: impl Fn(&Self) -> bool) {
        let waiting = async { while !holds(self) && self.step().await {} };
        let _ = tokio::time::timeout(patience, waiting).await;
    }

    /// Waits for the next event; false when none will come, since the container is gone.
    async fn step(&mut self) -> bool {
        let Some(Change { event, .. }) = self.changes.recv().await else { return false };
        self.note(&event);
        true
    }

    /// Takes the events that have come already.
    fn take_pending(&mut self) {
        while let Ok(Change { event, .. }) = self.changes.try_recv() {
            self.note(&event);
        }
    }

    fn note(&mut self, event: &Event) {
        if self.end.is_none() {
            self.shim_lost |= matches!(event, Event::ShimLost { .. });
            self.end = (self.pick)(event);
            return;
        }
        if let Event::StartRequested { at, .. } = event {
            self.next_start.get_or_insert(*at);
        }
        // A restart replaces the removal.
        self.settled |= matches!(event, Event::Removed | Event::RemoveFailed { .. } | Event::StartRequested { .. });
    }
}
