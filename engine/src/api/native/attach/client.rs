//! One attached client, from `started` to `exited`.

use std::convert::Infallible;
use std::time::Duration;

use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, AttachStarted};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Attendance;
use super::resume::{Line, Resumed, TERMINAL};
use crate::api::native::container::{ending, exit_status, given_back};
use crate::api::native::relay::{self, Ended};
use crate::containers::Change;
use crate::domain::container::{End, Event};
use crate::domain::id::Timestamp;
use crate::session::{Exit, Places, Session, Size};

/// An exit that the shim has told is recorded soon after.
const EXIT_PATIENCE: Duration = Duration::from_secs(60);
/// How long a client waits for a container that removes itself.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Client {
    sender: relay::Sender<AttachOutput>,
    line: Line,
    tty: bool,
    fate: Fate,
    removes_itself: bool,
    attendance: Option<Attendance>,
}

/// Finds the end in the events.
type Pick = Box<dyn FnMut(&Event) -> Option<End> + Send>;

/// What the journal says of the container meanwhile.
struct Fate {
    told: mpsc::UnboundedReceiver<Change>,
    pick: Pick,
    end: Option<End>,
    shim_lost: bool,
    /// When it was started again after its end.
    next_start: Option<Timestamp>,
    /// It was removed after its end, or will not be.
    settled: bool,
}

impl Client {
    /// `told` has every event of the container since before it was connected to.
    pub fn new(
        sender: relay::Sender<AttachOutput>,
        told: mpsc::UnboundedReceiver<Change>,
        line: Line,
        (tty, removes_itself): (bool, bool),
        attendance: Option<Attendance>,
    ) -> Self {
        let pick = Box::new(ending(line.start));
        let fate = Fate { told, pick, end: None, shim_lost: false, next_start: None, settled: false };
        Self { sender, line, tty, fate, removes_itself, attendance }
    }

    pub async fn serve(
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
            // A shim that is gone already is noticed below.
            let _ = streams.0.resize(size).await;
        }
        loop {
            let ended = tokio::select! {
                ended = relay::pump(&mut streams, &mut input, &self.sender, self.line.wanted) => ended,
                // Events are taken as they come: a session may last for months.
                never = follow(&mut self.fate, &mut self.attendance, self.removes_itself) => match never {},
            };
            match ended {
                Ended::Exited(Exit { status, .. }) => {
                    drop(streams);
                    if !self.finish().await {
                        tracing::warn!(?status, "an exit that the shim has told is not recorded");
                    }
                }
                // The client's presence lasts until it has what it has missed: the log goes with the container.
                Ended::Lost => match self.line.resume(&streams.1, &self.sender).await {
                    Resumed::On(next) => {
                        streams = next;
                        continue;
                    }
                    Resumed::Over => self.see_out(streams.1.places()).await,
                    Resumed::Lost(reason) => self.give_up(reason).await,
                },
                Ended::Refused(message) => drop(self.sender.send(Err(Status::failed_precondition(message))).await),
                // The stream's end is the answer.
                Ended::Detached | Ended::ClientGone => self.left(),
            }
            return;
        }
    }

    /// The run is over, and its shim with it, before all of the output was passed on.
    async fn see_out(mut self, places: Places) {
        self.fate.wait(EXIT_PATIENCE, |fate| fate.end.is_some()).await;
        self.fate.take_in();
        if let (Some(attendance), Some(_)) = (&mut self.attendance, &self.fate.end) {
            attendance.end();
        }
        if self.tty && self.fate.shim_lost {
            return self.give_up(TERMINAL.to_owned()).await;
        }
        match self.line.rest(places, self.fate.next_start, &self.sender).await {
            Ok(()) => drop(self.finish().await),
            Err(reason) => self.give_up(reason).await,
        }
    }

    /// Ends the session before its time.
    async fn give_up(mut self, reason: String) {
        self.left();
        let _ = self.sender.send(Err(Status::data_loss(reason))).await;
    }

    /// The client's presence is over, whatever is still to be told.
    fn left(&mut self) {
        self.attendance = None;
    }

    /// Tells the end as the journal has it, which is what everybody else is told too; false when it has none.
    async fn finish(mut self) -> bool {
        self.fate.wait(EXIT_PATIENCE, |fate| fate.end.is_some()).await;
        self.left();
        let last = match &self.fate.end {
            Some(end) => Ok(AttachOutput { output: Some(Output::Exited(exit_status(end))) }),
            None => Err(Status::unavailable(NOT_RECORDED)),
        };
        let known = last.is_ok();
        if known && self.removes_itself {
            // A script that uses the name again at once must find it free.
            self.fate.wait(REMOVAL_PATIENCE, |fate| fate.settled).await;
        }
        if let Some(end) = &self.fate.end {
            given_back(&self.line.engine, self.line.id, end.start).await;
        }
        let _ = self.sender.send(last).await;
        known
    }
}

const NOT_RECORDED: &str = "the container has exited, but its exit status could not be recorded";

/// Takes in events for as long as it is polled. With the container its clients' presence ends in the journal, however long
/// one takes for what it has still to read: nothing is recorded of a container that was removed meanwhile. A removal that
/// nobody asked for waits for what a client has still to read, since the log goes with the container; a user's does not.
async fn follow(fate: &mut Fate, attendance: &mut Option<Attendance>, removes_itself: bool) -> Infallible {
    while fate.step().await {
        if fate.end.is_none() {
            continue;
        }
        match attendance {
            Some(attendance) if removes_itself => attendance.end(),
            Some(_) | None => *attendance = None,
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
        let Some(Change { event, .. }) = self.told.recv().await else { return false };
        self.note(&event);
        true
    }

    /// What was told already.
    fn take_in(&mut self) {
        while let Ok(Change { event, .. }) = self.told.try_recv() {
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
        // A restart takes it away from its removal.
        self.settled |= matches!(event, Event::Removed | Event::RemoveFailed { .. } | Event::StartRequested { .. });
    }
}
