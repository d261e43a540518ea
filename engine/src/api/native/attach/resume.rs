//! A session that has lost its shim goes on with the next one, from the byte where it was.
//!
//! A shim has told how far its client has come, as a place in the log. What lies between that and the place where the next
//! one begins is read from the log. So it is for a client that the shim has cut off because it took nothing. What cannot be
//! had exactly is said to be lost: an end of the session with a word, never a hole.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::AttachOutput;
use isulad_shim::control::{Follower, LogPlace, Streams, kind};
use isulad_shim::state_dir::LOG_INCOMPLETE;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::api::native::relay::{self, Message};
use crate::container_log::{Reader, Record, Starts, Stream};
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::engine::Engine;
use crate::session::{Input, Output, Places, Reached, Session, SessionEvent};
use crate::shim_process;

/// How long a shim that replaces a lost one may take to listen.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Before the next attempt at a shim that left while it was asked.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that are read from the log before they are sent.
const CHUNK: usize = 64 * 1024;

pub(super) const TERMINAL: &str = "the container's terminal was lost with the shim that held it";
const INPUT: &str = "the container's shim was lost, and with it input that was on its way";
const NOT_LOGGED: &str = "the container's shim was lost, and with it output that is not in the container's log";
const UNREACHABLE: &str = "the container's shim was lost, and no other has taken its place";

/// What a session is connected to.
pub(super) struct Line {
    pub engine: Arc<Engine>,
    pub id: ContainerId,
    pub start: StartId,
    pub wanted: Streams,
    /// It has started the container.
    pub first: bool,
    /// Its input reaches the container.
    pub feeds: bool,
}

pub(super) enum Resumed {
    On((Input, Output)),
    /// The run is over.
    Over,
    /// For this reason.
    Lost(String),
}

enum Found {
    Shim(UnixStream),
    Over,
    Nobody,
}

/// Bytes of each output that are not to be told again.
#[derive(Clone, Copy)]
struct Skip {
    stdout: u64,
    stderr: u64,
}

impl Line {
    /// Connects anew, and sends what was missed meanwhile.
    pub async fn resume(&self, lost: &Output, sender: &relay::Sender<AttachOutput>) -> Resumed {
        if self.feeds && !lost.input_delivered() {
            return Resumed::Lost(INPUT.to_owned());
        }
        let deadline = Instant::now() + ADOPTION_PATIENCE;
        loop {
            let stream = match self.connect(deadline).await {
                Found::Shim(stream) => stream,
                Found::Over => return Resumed::Over,
                Found::Nobody => return Resumed::Lost(UNREACHABLE.to_owned()),
            };
            let session = Session::over(stream);
            // One that has left meanwhile gives no place.
            let _ = session.follow(self.wanted, Follower::Returning { first: self.first }).await;
            let (input, mut output) = session.split();
            match tokio::time::timeout(ANSWER_PATIENCE, output.placed(self.wanted)).await {
                Ok(Ok(())) => return self.go_on(lost.places(), (input, output), sender).await,
                Ok(Err(SessionEvent::Exited(_))) => return Resumed::Over,
                Ok(Err(SessionEvent::Refused(kind::HELLO, message))) => return Resumed::Lost(message),
                Ok(Err(_)) | Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Ok(Err(_)) | Err(_) => return Resumed::Lost(UNREACHABLE.to_owned()),
            }
        }
    }

    /// Sends what was missed of a run that is over. What is of a later one, which began then, is not of it.
    pub async fn rest(
        &self,
        from: Places,
        before: Option<Timestamp>,
        sender: &relay::Sender<AttachOutput>,
    ) -> Result<(), String> {
        if !self.shows() {
            return Ok(());
        }
        self.fill(from, None, before, sender).await.map(drop)
    }

    /// A session of input only misses nothing.
    fn shows(&self) -> bool {
        self.wanted.stdout || self.wanted.stderr
    }

    async fn go_on(
        &self,
        from: Places,
        (input, mut output): (Input, Output),
        sender: &relay::Sender<AttachOutput>,
    ) -> Resumed {
        if !self.shows() {
            return Resumed::On((input, output));
        }
        let Places { stdout, stderr } = output.places();
        let Some(Reached { place, .. }) = stdout.or(stderr) else { return Resumed::Lost(NOT_LOGGED.to_owned()) };
        match self.fill(from, Some(place), None, sender).await {
            Ok(Skip { stdout, stderr }) => {
                output.skip(stdout, stderr);
                Resumed::On((input, output))
            }
            Err(reason) => Resumed::Lost(reason),
        }
    }

    /// The shim of the run. One that was lost is replaced within moments: that is waited for.
    async fn connect(&self, deadline: Instant) -> Found {
        loop {
            let Some(entity) = self.engine.containers.get(&self.id) else { return Found::Over };
            if entity.state.phase.run().is_none_or(|run| run.start != self.start) {
                return Found::Over;
            }
            if let Ok(stream) = shim_process::connect(&self.engine.state_dir(&entity.state)).await {
                return Found::Shim(stream);
            }
            let changed = self.engine.containers.changed_since(&self.id, entity.state.version);
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Found::Nobody;
            }
        }
    }

    /// Sends what is in the log from where each output has come up to `end`, or to what is there now. Gives what of the
    /// output behind that was sent already.
    async fn fill(
        &self,
        from: Places,
        end: Option<LogPlace>,
        before: Option<Timestamp>,
        sender: &relay::Sender<AttachOutput>,
    ) -> Result<Skip, String> {
        let Some(entity) = self.engine.containers.get(&self.id) else { return Err(NOT_LOGGED.to_owned()) };
        let (path, state) = (self.engine.bundle(&entity.state).log(), self.engine.state_dir(&entity.state));
        let wanted = self.wanted;
        let begun = blocking(move || {
            let reached = |wanted: bool, reached: Option<Reached>| match (wanted, reached) {
                (false, _) => Ok(None),
                (true, Some(reached)) => Ok(Some(reached)),
                (true, None) => Err(NOT_LOGGED.to_owned()),
            };
            let (stdout, stderr) = (reached(wanted.stdout, from.stdout)?, reached(wanted.stderr, from.stderr)?);
            let place = |reached: Option<Reached>| reached.map(|reached| reached.place);
            let starts = Starts { stdout: place(stdout), stderr: place(stderr) };
            let beyond = |reached: Option<Reached>| reached.map_or(0, |reached| reached.beyond);
            let skip = Skip { stdout: beyond(stdout), stderr: beyond(stderr) };
            if state.file(LOG_INCOMPLETE).exists() {
                return Err(NOT_LOGGED.to_owned());
            }
            let before = before.map_or(i64::MAX, |before| i64::try_from(before.0).unwrap_or(i64::MAX));
            let reader = Reader::between(&path, starts, end).map_err(unreadable)?.ok_or(NOT_LOGGED)?;
            let reader = if end.is_none() { reader.until_now().map_err(unreadable)? } else { reader };
            Ok(Filling { reader, skip, before, messages: Vec::new() })
        });
        let mut filling = begun.await?;
        loop {
            // Waited for here: a client that takes nothing holds no thread.
            let (back, filled) = blocking(move || {
                let filled = filling.run().map_err(unreadable)?;
                Ok((filling, filled))
            })
            .await?;
            filling = back;
            for message in std::mem::take(&mut filling.messages) {
                if sender.send(Ok(message)).await.is_err() {
                    return Ok(filling.skip);
                }
            }
            match filled {
                Filled::Part => {}
                Filled::All => return Ok(filling.skip),
                Filled::Inexact => return Err(NOT_LOGGED.to_owned()),
            }
        }
    }
}

fn unreadable(error: io::Error) -> String {
    format!("{NOT_LOGGED}: cannot read the log: {error}")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(format!("{NOT_LOGGED}: {panic}")))
}

/// From the log to messages, a part at a time.
struct Filling {
    reader: Reader,
    skip: Skip,
    /// Unix nanoseconds.
    before: i64,
    /// To be sent.
    messages: Vec<AttachOutput>,
}

enum Filled {
    /// More is there.
    Part,
    All,
    /// It is not exactly what the container wrote.
    Inexact,
}

impl Filling {
    /// Blocks.
    fn run(&mut self) -> io::Result<Filled> {
        let Self { reader, skip, before, messages } = self;
        let mut filled = Filled::All;
        let (mut stream, mut text, mut size) = (Stream::Stdout, Vec::new(), 0);
        let flow = reader.read(|record| {
            if *before < i64::MAX && record.time() >= *before {
                return ControlFlow::Break(());
            }
            if record.stream != stream {
                size += add_message(messages, stream, &mut text);
            }
            stream = record.stream;
            if !add(skip, record, &mut text) {
                filled = Filled::Inexact;
                return ControlFlow::Break(());
            }
            if size + text.len() >= CHUNK {
                filled = Filled::Part;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        add_message(messages, stream, &mut text);
        Ok(if flow.is_continue() && !reader.is_whole() { Filled::Inexact } else { filled })
    }
}

/// Adds what was not sent; false where the log does not have the bytes.
fn add(skip: &mut Skip, record: &Record<'_>, text: &mut Vec<u8>) -> bool {
    let before = text.len();
    let skip = match record.stream {
        Stream::Stdout => &mut skip.stdout,
        Stream::Stderr => &mut skip.stderr,
    };
    // What is no UTF-8 stands in the log as this.
    let known = record.append_text(text) && memchr::memmem::find(&text[before..], "\u{fffd}".as_bytes()).is_none();
    if !known {
        text.truncate(before);
        return false;
    }
    let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(text.len() - before);
    text.drain(before..before + skipped);
    *skip -= skipped as u64;
    true
}

/// Returns how many bytes it has: what a message costs beside its text counts, too.
fn add_message(messages: &mut Vec<AttachOutput>, stream: Stream, text: &mut Vec<u8>) -> usize {
    if text.is_empty() {
        return 0;
    }
    let text = std::mem::take(text);
    let size = text.len() + size_of::<AttachOutput>();
    messages.push(match stream {
        Stream::Stdout => <cri_api::isula::v1::AttachInput as Message>::stdout(text),
        Stream::Stderr => <cri_api::isula::v1::AttachInput as Message>::stderr(text),
    });
    size
}
