//! One attached client, from `started` to `exited`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, Empty};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Attendance, wanted};
use crate::api::native::container::{ending, exit_status, given_back};
use crate::api::native::relay::{self, Ended};
use crate::domain::container::{End, Event};
use crate::domain::id::{ContainerId, StartId};
use crate::engine::Engine;
use crate::projection::Told;
use crate::session::{Exit, Session, Size};

/// An exit that the shim has told is recorded soon after.
const EXIT_PATIENCE: Duration = Duration::from_secs(60);
/// Without the shim's word the container may well go on: the client is told so soon.
const LOST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for a container that removes itself.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Client {
    engine: Arc<Engine>,
    id: ContainerId,
    sender: relay::Sender<AttachOutput>,
    fate: Fate,
    removes_itself: bool,
    attendance: Option<Attendance>,
}

/// Finds the end in the events.
type Pick = Box<dyn FnMut(&Event) -> Option<End> + Send>;

/// What the journal says of the container meanwhile.
struct Fate {
    told: mpsc::UnboundedReceiver<Told>,
    pick: Pick,
    end: Option<End>,
    /// It was removed after its end, or will not be.
    settled: bool,
}

impl Client {
    /// `told` has every event of the container since before it was connected to.
    pub fn new(
        (engine, id): (&Arc<Engine>, ContainerId),
        sender: relay::Sender<AttachOutput>,
        told: mpsc::UnboundedReceiver<Told>,
        start: StartId,
        removes_itself: bool,
        attendance: Attendance,
    ) -> Self {
        let fate = Fate { told, pick: Box::new(ending(start)), end: None, settled: false };
        Self { engine: engine.clone(), id, sender, fate, removes_itself, attendance: Some(attendance) }
    }

    pub async fn serve(mut self, session: Session, input: Streaming<AttachInput>, open: AttachOpen) {
        let started = Output::Started(Empty {});
        if self.sender.send(Ok(AttachOutput { output: Some(started) })).await.is_err() {
            return;
        }
        let mut streams = session.split();
        if let Some(size) = open.size.and_then(|size| Size::new(size.width, size.height)) {
            // A shim that is gone already is noticed below.
            let _ = streams.0.resize(size).await;
        }
        let ended = tokio::select! {
            ended = relay::pump(&mut streams, input, &self.sender, wanted(&open)) => ended,
            // Events are taken as they come: a session may last for months.
            never = follow(&mut self.fate, &mut self.attendance) => match never {},
        };
        drop(streams);
        match ended {
            Ended::Exited(Exit { status, .. }) => {
                if !self.finish(EXIT_PATIENCE, NOT_RECORDED).await {
                    tracing::warn!(?status, "an exit that the shim has told is not recorded");
                }
            }
            Ended::Lost => drop(self.finish(LOST_PATIENCE, LOST).await),
            Ended::Refused(message) => drop(self.sender.send(Err(Status::failed_precondition(message))).await),
            // The stream's end is the answer.
            Ended::Detached | Ended::ClientGone => self.left(),
        }
    }

    /// The client's presence is over, whatever is still to be told.
    fn left(&mut self) {
        self.attendance = None;
    }

    /// Tells the end as the journal has it, which is what everybody else is told too; false when it has none.
    async fn finish(&mut self, patience: Duration, otherwise: &str) -> bool {
        self.fate.wait(patience, |fate| fate.end.is_some()).await;
        self.left();
        let last = match &self.fate.end {
            Some(end) => Ok(AttachOutput { output: Some(Output::Exited(exit_status(end))) }),
            None => Err(Status::unavailable(otherwise)),
        };
        let known = last.is_ok();
        if known && self.removes_itself {
            // A script that uses the name again at once must find it free.
            self.fate.wait(REMOVAL_PATIENCE, |fate| fate.settled).await;
        }
        if let Some(end) = &self.fate.end {
            given_back(&self.engine, self.id, end.start).await;
        }
        let _ = self.sender.send(last).await;
        known
    }
}

const LOST: &str = "the connection to the container was lost; it may be running still";
const NOT_RECORDED: &str = "the container has exited, but its exit status could not be recorded";

/// Takes in events for as long as it is polled. With the container its clients' presence ends, however long one takes for
/// what it has still to read: nothing is recorded of a container that was removed meanwhile.
async fn follow(fate: &mut Fate, attendance: &mut Option<Attendance>) -> Infallible {
    while fate.step().await {
        if fate.end.is_some() {
            *attendance = None;
        }
    }
    std::future::pending().await
}

impl Fate {
    async fn wait(&mut self, patience: Duration, holds: impl Fn(&Self) -> bool) {
        let waiting = async { while !holds(self) && self.step().await {} };
        let _ = tokio::time::timeout(patience, waiting).await;
    }

    /// The next event; false when none will come, since the container is gone.
    async fn step(&mut self) -> bool {
        let Some(Told { event, .. }) = self.told.recv().await else { return false };
        if self.end.is_none() {
            self.end = (self.pick)(&event);
        } else {
            // A restart takes it away from its removal.
            self.settled |= matches!(event, Event::Removed | Event::RemoveFailed { .. } | Event::StartRequested { .. });
        }
        true
    }
}
