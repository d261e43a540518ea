//! Resumes a session that has lost its shim with the next one, from the same byte.
//!
//! A shim sends its client's position as a place in the log. Output between that place and the one where the next shim
//! begins is read from the log. The same is done for a client that the shim has cut off because it read nothing. Output
//! that cannot be given exactly ends the session with an error; it is never left out silently.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::AttachOutput;
use isulad_shim::control::{Follower, LogPlace, Streams, kind};
use isulad_shim::state_dir::LOG_INCOMPLETE;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::api::native::relay::{self, Relayed};
use crate::container_log::{Reader, Record, Starts, Stream};
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::engine::Engine;
use crate::session::{Input, Output, Places, Reached, Session, SessionEvent};
use crate::shim_process;

/// How long a shim that replaces a lost one may take to listen.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(120);
/// How long a shim may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Before the next attempt, after a shim has left during a request.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that are read from the log before they are sent.
const CHUNK: usize = 64 * 1024;

pub(super) const TERMINAL: &str = "the container's terminal was lost with the shim that held it";
const INPUT: &str = "the container's shim was lost, and with it input that was on its way";
const NOT_LOGGED: &str = "the container's shim was lost, and with it output that is not in the container's log";
const UNREACHABLE: &str = "the container's shim was lost, and no other has taken its place";

/// The run to which a session is connected.
pub(super) struct SessionTarget {
    pub engine: Arc<Engine>,
    pub id: ContainerId,
    pub start: StartId,
    pub wanted: Streams,
    /// The client has started the container.
    pub first: bool,
    /// The client's input reaches the container.
    pub feeds: bool,
}

pub(super) enum Resumption {
    Connected((Input, Output)),
    /// The run has ended.
    RunEnded,
    /// The session cannot go on, for this reason.
    Lost(String),
}

enum Connection {
    Shim(UnixStream),
    RunEnded,
    NoShim,
}

/// Bytes of each output that were sent already.
#[derive(Clone, Copy)]
struct Skip {
    stdout: u64,
    stderr: u64,
}

impl SessionTarget {
    /// Connects to the next shim, and sends the missed output.
    pub(super) async fn resume(&self, lost: &Output, sender: &relay::Sender<AttachOutput>) -> Resumption {
        if self.feeds && !lost.input_delivered() {
            return Resumption::Lost(INPUT.to_owned());
        }
        let deadline = Instant::now() + ADOPTION_PATIENCE;
        loop {
            let stream = match self.connect(deadline).await {
                Connection::Shim(stream) => stream,
                Connection::RunEnded => return Resumption::RunEnded,
                Connection::NoShim => return Resumption::Lost(UNREACHABLE.to_owned()),
            };
            let session = Session::over(stream);
            // A failure shows below: a shim that has left sends no position.
            let _ = session.follow(self.wanted, Follower::Returning { first: self.first }).await;
            let (input, mut output) = session.split();
            match tokio::time::timeout(ANSWER_PATIENCE, output.placed(self.wanted)).await {
                Ok(Ok(())) => return self.send_missed(lost.places(), (input, output), sender).await,
                Ok(Err(SessionEvent::Exited(_))) => return Resumption::RunEnded,
                Ok(Err(SessionEvent::Refused(kind::HELLO, message))) => return Resumption::Lost(message),
                Ok(Err(_)) | Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Ok(Err(_)) | Err(_) => return Resumption::Lost(UNREACHABLE.to_owned()),
            }
        }
    }

    /// Sends the missed output of a run that has ended. Output from `before` on belongs to a later run and is left out.
    pub(super) async fn rest(
        &self,
        from: Places,
        before: Option<Timestamp>,
        sender: &relay::Sender<AttachOutput>,
    ) -> Result<(), String> {
        if !self.has_output() {
            return Ok(());
        }
        self.send_log(from, None, before, sender).await.map(drop)
    }

    /// Whether the session has output; one of input only misses nothing.
    fn has_output(&self) -> bool {
        self.wanted.stdout || self.wanted.stderr
    }

    async fn send_missed(
        &self,
        from: Places,
        (input, mut output): (Input, Output),
        sender: &relay::Sender<AttachOutput>,
    ) -> Resumption {
        if !self.has_output() {
            return Resumption::Connected((input, output));
        }
        let Places { stdout, stderr } = output.places();
        let Some(Reached { place, .. }) = stdout.or(stderr) else { return Resumption::Lost(NOT_LOGGED.to_owned()) };
        match self.send_log(from, Some(place), None, sender).await {
            Ok(Skip { stdout, stderr }) => {
                output.skip(stdout, stderr);
                Resumption::Connected((input, output))
            }
            Err(reason) => Resumption::Lost(reason),
        }
    }

    /// Connects to the shim of the run. A lost one is replaced within moments: that is waited for.
    async fn connect(&self, deadline: Instant) -> Connection {
        loop {
            let Some(entity) = self.engine.containers.get(&self.id) else { return Connection::RunEnded };
            if entity.state.phase.run().is_none_or(|run| run.start != self.start) {
                return Connection::RunEnded;
            }
            if let Ok(stream) = shim_process::connect(&self.engine.node.state_dir(&entity.state)).await {
                return Connection::Shim(stream);
            }
            let changed = self.engine.containers.changed_since(&self.id, entity.state.version);
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Connection::NoShim;
            }
        }
    }

    /// Sends the log from the position of each output up to `end`, or to the present end of the log. Returns how many
    /// bytes of the output behind it were sent already.
    async fn send_log(
        &self,
        from: Places,
        end: Option<LogPlace>,
        before: Option<Timestamp>,
        sender: &relay::Sender<AttachOutput>,
    ) -> Result<Skip, String> {
        let Some(entity) = self.engine.containers.get(&self.id) else { return Err(NOT_LOGGED.to_owned()) };
        let (engine, state) = (self.engine.clone(), self.engine.node.state_dir(&entity.state));
        let wanted = self.wanted;
        let opening = blocking(move || {
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
            let definition =
                engine.containers.definition(&entity).map_err(|error| unreadable(io::Error::other(error)))?;
            let log = definition.log.file(engine.node.bundle(&entity.state).log()).ok_or(NOT_LOGGED)?;
            let before = before.map_or(i64::MAX, |before| i64::try_from(before.0).unwrap_or(i64::MAX));
            let reader = Reader::between(&log, starts, end).map_err(unreadable)?.ok_or(NOT_LOGGED)?;
            let reader = if end.is_none() { reader.until_now().map_err(unreadable)? } else { reader };
            Ok(LogReading { reader, skip, before, messages: Vec::new() })
        });
        let mut reading = opening.await?;
        loop {
            // Sent here, off the reading thread: a client that reads nothing holds no thread.
            let (back, end_of_part) = blocking(move || {
                let end_of_part = reading.run().map_err(unreadable)?;
                Ok((reading, end_of_part))
            })
            .await?;
            reading = back;
            for message in std::mem::take(&mut reading.messages) {
                if sender.send(Ok(message)).await.is_err() {
                    return Ok(reading.skip);
                }
            }
            match end_of_part {
                ReadEnd::Part => {}
                ReadEnd::All => return Ok(reading.skip),
                ReadEnd::Inexact => return Err(NOT_LOGGED.to_owned()),
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

/// Reads the log into messages, one part at a time.
struct LogReading {
    reader: Reader,
    skip: Skip,
    /// Unix nanoseconds.
    before: i64,
    /// To be sent.
    messages: Vec<AttachOutput>,
}

enum ReadEnd {
    /// There is more.
    Part,
    All,
    /// The log differs from the container's output.
    Inexact,
}

impl LogReading {
    /// Blocks.
    fn run(&mut self) -> io::Result<ReadEnd> {
        let Self { reader, skip, before, messages } = self;
        let mut end_of_part = ReadEnd::All;
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
                end_of_part = ReadEnd::Inexact;
                return ControlFlow::Break(());
            }
            if size + text.len() >= CHUNK {
                end_of_part = ReadEnd::Part;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        add_message(messages, stream, &mut text);
        Ok(if flow.is_continue() && !reader.is_whole() { ReadEnd::Inexact } else { end_of_part })
    }
}

/// Adds the text that was not sent; false where the log does not have the exact bytes.
fn add(skip: &mut Skip, record: &Record<'_>, text: &mut Vec<u8>) -> bool {
    let before = text.len();
    if !record.append_exact(text) {
        return false;
    }
    let skip = match record.stream {
        Stream::Stdout => &mut skip.stdout,
        Stream::Stderr => &mut skip.stderr,
    };
    let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(text.len() - before);
    text.drain(before..before + skipped);
    *skip -= skipped as u64;
    true
}

/// Returns the size of the message; its memory beside the text counts, too.
fn add_message(messages: &mut Vec<AttachOutput>, stream: Stream, text: &mut Vec<u8>) -> usize {
    if text.is_empty() {
        return 0;
    }
    let text = std::mem::take(text);
    let size = text.len() + size_of::<AttachOutput>();
    messages.push(match stream {
        Stream::Stdout => <cri_api::isula::v1::AttachInput as Relayed>::stdout(text),
        Stream::Stderr => <cri_api::isula::v1::AttachInput as Relayed>::stderr(text),
    });
    size
}
