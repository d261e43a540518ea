//! Logs: read from the container's files; by the daemon, since only root may read them.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::{LogBatch, LogPiece, LogsRequest};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{ApiError, Native};
use crate::clock;
use crate::container_log::{LogFile, Reader, Record, Stream, Window};
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::sys;

type Sender = mpsc::Sender<Result<LogBatch, Status>>;

/// Batches in flight to a client: one is read while the others travel.
const IN_FLIGHT: usize = 4;
/// Bytes of text from which a batch is sent.
const BATCH: usize = 128 * 1024;

/// The wanted part of the log.
struct LogOptions {
    tail: Option<u64>,
    window: Window,
    follow: bool,
    timestamps: bool,
}

impl Native {
    pub(super) async fn stream_logs(
        &self,
        request: LogsRequest,
    ) -> Result<ReceiverStream<Result<LogBatch, Status>>, ApiError> {
        let reference = &request.container;
        let target = self.target(reference)?;
        let (id, entity) = (target.id, target.entity(&self.engine)?);
        let (engine, in_bundle) = (self.engine.clone(), self.engine.node.bundle(&entity.state).log());
        let definition = tokio::task::spawn_blocking(move || engine.containers.definition(&entity))
            .await
            .map_err(|panic| ApiError::failed(panic.to_string()))??;
        let Some(log) = definition.log.file(in_bundle) else {
            return Err(ApiError::invalid(format!("container {reference} keeps no log (log driver none)")));
        };
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let LogsRequest { tail, since, until, follow, timestamps, container: _ } = request;
        let window = Window { since, until: if until == 0 { i64::MAX } else { until } };
        let options = LogOptions { tail, window, follow, timestamps };
        tokio::spawn(send_logs(self.engine.clone(), id, log, options, sender));
        Ok(ReceiverStream::new(receiver))
    }
}

async fn send_logs(engine: Arc<Engine>, id: ContainerId, log: LogFile, options: LogOptions, sender: Sender) {
    if let Err(error) = send(&engine, id, log, options, &sender).await {
        let _ = sender.send(Err(ApiError::failed(format!("cannot read the log: {error}")).into())).await;
    }
}

async fn send(
    engine: &Arc<Engine>,
    id: ContainerId,
    log: LogFile,
    options: LogOptions,
    sender: &Sender,
) -> io::Result<()> {
    let Some(entity) = engine.containers.get(&id) else { return Ok(()) };
    let mut goes_on = entity.state.phase.run().is_some() || entity.state.phase.in_transition();
    let follow = options.follow;
    // Watched before the first read: a change in between is not missed.
    let watch = if follow { Some(Watch::new(log.path.parent().unwrap_or(Path::new("/")))?) } else { None };
    let until = options.window.until;
    let mut reading = blocking(move || BatchReader::begin(&log, options)).await?;
    loop {
        let (back, end) = blocking(move || {
            let end = reading.read_batch()?;
            Ok((reading, end))
        })
        .await?;
        reading = back;
        let pieces = reading.batch();
        // Sent here, off the reading thread: a client that reads nothing holds no thread.
        if !pieces.is_empty() && sender.send(Ok(LogBatch { pieces })).await.is_err() {
            return Ok(());
        }
        let goes_on_after = match end {
            ReadEnd::Batch => continue,
            ReadEnd::All => goes_on,
            ReadEnd::Over => false,
        };
        let Some(watch) = watch.as_ref().filter(|_| goes_on_after) else { return Ok(()) };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = sender.closed() => return Ok(()),
            // All output was written before the exit was recorded: one more read, and the log is complete.
            () = ended(engine, id) => goes_on = false,
            () = over(until) => goes_on = false,
        }
    }
}

/// Reads the log into batches, one at a time.
struct BatchReader {
    reader: Reader,
    window: Window,
    follow: bool,
    timestamps: bool,
    /// For stdout and stderr: the text that was sent ends within a line.
    mid_line: [bool; 2],
    pieces: Vec<LogPiece>,
    size: usize,
}

enum ReadEnd {
    /// One batch is full, and there may be more.
    Batch,
    /// The end of the log, for now.
    All,
    /// The end of the wanted part.
    Over,
}

impl BatchReader {
    fn begin(log: &LogFile, options: LogOptions) -> io::Result<Self> {
        let LogOptions { tail, window, follow, timestamps } = options;
        let reader = match tail {
            Some(count) => Reader::tail(log, count, window)?,
            None => Reader::open(log)?,
        };
        let reader = if follow { reader } else { reader.until_now()? };
        let (mid_line, pieces) = ([false; 2], Vec::new());
        Ok(Self { reader, window, follow, timestamps, mid_line, pieces, size: 0 })
    }

    /// Reads the next batch. Blocks.
    fn read_batch(&mut self) -> io::Result<ReadEnd> {
        let Self { reader, window, follow, timestamps, mid_line, pieces, size } = self;
        let mut end = ReadEnd::All;
        let _ = reader.read(|record| {
            if !window.has(record) {
                // Records after a clock that was set back must not be hidden, but a follower has to end.
                if *follow && window.until < i64::MAX && record.time() > window.until {
                    end = ReadEnd::Over;
                    return ControlFlow::Break(());
                }
                return ControlFlow::Continue(());
            }
            *size += add(pieces, record, timestamps.then_some(&mut *mid_line));
            if *size < BATCH {
                return ControlFlow::Continue(());
            }
            end = ReadEnd::Batch;
            ControlFlow::Break(())
        })?;
        Ok(end)
    }

    /// Takes the batch that was read.
    fn batch(&mut self) -> Vec<LogPiece> {
        self.size = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// Adds a record behind the others, with its time where that is wanted and a line begins; returns its size.
fn add(pieces: &mut Vec<LogPiece>, record: &Record<'_>, timestamps: Option<&mut [bool; 2]>) -> usize {
    let stderr = record.stream == Stream::Stderr;
    if pieces.last().is_none_or(|last| last.stderr != stderr) {
        pieces.push(LogPiece { stderr, text: Vec::new() });
    }
    let Some(LogPiece { text, .. }) = pieces.last_mut() else { return 0 };
    let before = text.len();
    if let Some(mid_line) = timestamps {
        let mid_line = &mut mid_line[usize::from(stderr)];
        if !std::mem::replace(mid_line, !record.ends_line()) {
            record.append_time(text);
            text.push(b' ');
        }
    }
    if !record.append_text(text) {
        text.truncate(before);
    }
    // The memory of a piece beside its text counts, too.
    text.len() - before + size_of::<LogPiece>()
}

/// Waits until the container is not running any more.
async fn ended(engine: &Engine, id: ContainerId) {
    loop {
        let Some(entity) = engine.containers.get(&id) else { return };
        if entity.state.phase.run().is_none() && !entity.state.phase.in_transition() {
            return;
        }
        engine.containers.changed_since(&id, entity.state.version).await;
    }
}

/// Waits until this time has passed.
async fn over(until: i64) {
    if until == i64::MAX {
        std::future::pending::<()>().await;
    }
    while let Some(left @ 0..) = until.checked_sub(i64::try_from(clock::now().0).unwrap_or(i64::MAX)) {
        // Checked again at least every minute: a clock may be set.
        tokio::time::sleep(Duration::from_nanos(left.unsigned_abs() + 1).min(Duration::from_secs(60))).await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// How often a follower polls where the kernel has no inotify left for it: a user has 128 by default.
const POLL: Duration = Duration::from_millis(500);

/// Watches a directory for changes: one descriptor for each follower, none for each container.
enum Watch {
    Notified { inotify: Inotify, ready: AsyncFd<OwnedFd> },
    Polled,
}

impl Watch {
    fn new(dir: &Path) -> io::Result<Self> {
        match Self::notified(dir) {
            Err(error)
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOSPC)
                ) =>
            {
                Ok(Self::Polled)
            }
            made => made,
        }
    }

    fn notified(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(dir, flags)?;
        let ready = sys::watch(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self::Notified { inotify, ready })
    }

    async fn changed(&self) -> io::Result<()> {
        let Self::Notified { inotify, ready } = self else {
            tokio::time::sleep(POLL).await;
            return Ok(());
        };
        let mut guard = ready.readable().await?;
        // The changed file does not matter; all queued events are one change.
        match inotify.read_events() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        guard.clear_ready();
        Ok(())
    }
}
