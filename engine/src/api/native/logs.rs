//! Logs: read from the container's files, in the daemon only because they are root's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use cri_api::isula::v1::{LogEntry, LogsRequest};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{ApiError, Native};
use crate::container_log::{Entry, Reader};
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::sys;

type Sender = mpsc::Sender<Result<LogEntry, Status>>;

/// Entries in flight to a client.
const IN_FLIGHT: usize = 64;

/// Only entries of this time.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: i64,
    until: i64,
}

impl Native {
    pub(super) async fn stream_logs(
        &self,
        request: LogsRequest,
    ) -> Result<ReceiverStream<Result<LogEntry, Status>>, ApiError> {
        let reference = &request.container;
        let id = self.engine.containers.resolve(reference).map_err(|error| ApiError::of_resolve(error, reference))?;
        let entity = self
            .engine
            .containers
            .get(&id)
            .ok_or_else(|| ApiError::NoSuchContainer { reference: reference.clone() })?;
        let engine = self.engine.clone();
        let definition = tokio::task::spawn_blocking(move || engine.definition(&entity))
            .await
            .map_err(|panic| ApiError::failed(panic.to_string()))??;
        if !definition.log.enabled {
            return Err(ApiError::invalid(format!("container {reference} keeps no log (log driver none)")));
        }
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let window = Window { since: request.since, until: if request.until == 0 { i64::MAX } else { request.until } };
        tokio::spawn(send_logs(self.engine.clone(), id, request.tail, window, request.follow, sender));
        Ok(ReceiverStream::new(receiver))
    }
}

async fn send_logs(
    engine: Arc<Engine>,
    id: ContainerId,
    tail: Option<u64>,
    window: Window,
    follow: bool,
    sender: Sender,
) {
    if let Err(error) = send(&engine, id, tail, window, follow, &sender).await {
        let _ = sender.send(Err(ApiError::failed(format!("cannot read the log: {error}")).into())).await;
    }
}

async fn send(
    engine: &Arc<Engine>,
    id: ContainerId,
    tail: Option<u64>,
    window: Window,
    follow: bool,
    sender: &Sender,
) -> io::Result<()> {
    let Some(entity) = engine.containers.get(&id) else { return Ok(()) };
    let path = engine.bundle(&entity.container).log();
    let mut running = entity.container.phase.run().is_some() || entity.container.phase.in_transition();
    // Watched before the first look: what is written in between is told.
    let watch = if follow { Some(Watch::new(path.parent().unwrap_or(Path::new("/")))?) } else { None };
    let opening = move || {
        let reader = Reader::open(&path, tail)?;
        if follow { Ok(reader) } else { reader.until_now() }
    };
    let mut reader = blocking(opening).await?;
    loop {
        let to = sender.clone();
        let (back, gone_on) = blocking(move || {
            let mut reader = reader;
            let gone_on = pour(&mut reader, window, &to)?;
            Ok((reader, gone_on))
        })
        .await?;
        reader = back;
        let Some(watch) = watch.as_ref().filter(|_| gone_on && running) else { return Ok(()) };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = sender.closed() => return Ok(()),
            // All was written before the exit was told: one more look, and that was it.
            () = ended(engine, id) => running = false,
        }
    }
}

/// Everything that is there; `false` when nobody wants more.
fn pour(reader: &mut Reader, window: Window, sender: &Sender) -> io::Result<bool> {
    while let Some(Entry { stream, line, time }) = reader.next_entry()? {
        if time < window.since {
            continue;
        }
        if time > window.until || sender.blocking_send(Ok(LogEntry { stream, line: line.into_bytes(), time })).is_err()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until the container does not run.
async fn ended(engine: &Engine, id: ContainerId) {
    loop {
        let Some(entity) = engine.containers.get(&id) else { return };
        if entity.container.phase.run().is_none() && !entity.container.phase.in_transition() {
            return;
        }
        engine.containers.changed_since(&id, entity.container.version).await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// Tells when something in a directory changes: one descriptor for each follower, none for containers as such.
struct Watch {
    inotify: Inotify,
    ready: AsyncFd<OwnedFd>,
}

impl Watch {
    fn new(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(dir, flags)?;
        let ready = sys::watch(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { inotify, ready })
    }

    async fn changed(&self) -> io::Result<()> {
        let mut guard = self.ready.readable().await?;
        // Which file it was does not matter; all that is queued is one change.
        match self.inotify.read_events() {
            Ok(_) | Err(nix::errno::Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        guard.clear_ready();
        Ok(())
    }
}
