//! Opens a journal, in any state it was left in.
//!
//! Steps, each taken only if the one before was not enough: open and examine; drop torn rows and records from the end;
//! set damaged files aside and continue without the database's snapshot; build a new database from the records in the
//! old one's raw pages. Data is copied before it is removed, except half-written files of the database itself.

mod aside;
mod attempts;
mod examine;
mod format;
mod lock;
mod reading;
mod repair;
mod salvage;

use crate::archive::Archive;
use crate::backend::Backend;
use crate::backend::memory::Memory;
use crate::envelope::Hash;
use crate::error::IoContext;
use crate::mark::Mark;
use crate::shared::{Recent, Shared};
use crate::space::Space;
use crate::writer::StreamState;
use crate::{Journal, NewerFormat, OpenError, OpenReport, Opened, Options, SavedRow, Seq, StreamId, gap};
use attempts::Store;
pub(crate) use examine::hash_of;
use format::KnownFormats;
pub use format::format_of;
pub(crate) use format::{Formats, LAYOUT, known_formats, write as write_format};
pub(crate) use lock::lock;
pub(crate) use reading::{ReadCopy, repaired};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;
use tokio::sync::watch;
use tracing::{info, warn};

/// The writer's initial state.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) rows: Vec<SavedRow>,
    pub(crate) streams: HashMap<StreamId, StreamState>,
    pub(crate) last: Seq,
    pub(crate) hash: Hash,
    pub(crate) hot_first: Seq,
    pub(crate) trim: Range<Seq>,
    /// The numbers that repairs skipped.
    pub(crate) skipped: Vec<(Seq, Seq)>,
    pub(crate) recent: Recent,
}

impl Loaded {
    pub(crate) fn behind(&self) -> Vec<(StreamId, u64)> {
        let behind = self.streams.iter().filter(|(_, state)| state.behind);
        let mut behind: Vec<_> = behind.map(|(stream, state)| (stream.clone(), state.version)).collect();
        behind.sort();
        behind
    }
}

pub(crate) fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    let started = Instant::now();
    private_dir(dir).opening("create", dir)?;
    let lock = lock(dir)?;
    let KnownFormats { formats, damaged: format_damaged } = format::known_formats(dir)?;
    if let Some(found) = formats.filter(|found| found.layout > LAYOUT || found.records > options.format) {
        return reading::open_newer(dir, found, options, lock, started);
    }
    if let Some(found) = formats.filter(|found| found.records < options.format) {
        return Err(OpenError::OlderFormat { path: dir.into(), found: found.records, known: options.format });
    }
    let mut space = Space::new(dir, &options);
    space.before_open();
    reading::sweep(dir);
    let mut report =
        OpenReport { removed: remove_generating(dir)?, format_rebuilt: format_damaged, ..OpenReport::default() };
    let (archive, unreadable) = Archive::open(dir.join("archive"))?;
    archive.sweep()?;
    report.unreadable_archives = unreadable;
    let (existed, acknowledged) = (formats.is_some() || format_damaged, crate::mark::read(dir));
    let store = Store { dir, archive: &archive, options: &options, existed, acknowledged };
    let (backend, loaded) = store.open(space.check(), &mut report)?;
    report.missing = gap::undeclared(&archive.missing(loaded.hot_first), &loaded.skipped);
    if loaded.behind().is_empty() && report.unreadable_archives.is_empty() {
        note_beginning(&archive, &report.missing);
    }
    format::write(dir, Formats { layout: LAYOUT, records: options.format })?;
    space.check();
    report.took = started.elapsed();
    log_opening(dir, &report);
    let shared = shared(options, Arc::new(backend), Some(archive), Some(lock), &loaded, None);
    let mark =
        Mark::open(dir).and_then(|mark| mark.set(loaded.last).map(|()| mark)).opening("write", dir.join("mark"))?;
    started_with(dir, shared, loaded, report, Some((space, mark)))
}

/// A journal without a readable note, from an older version: events missing before its first event may have been
/// removed by retention. They are reported once and noted as removed. In a journal that begins with event 1, the note
/// makes a file that is lost later recognisable as a loss. Must not be called while a state needs the missing events,
/// or while a file that holds them may be restored.
fn note_beginning(archive: &Archive, missing: &[(Seq, Seq)]) {
    if archive.is_noted() {
        return;
    }
    let lacking = missing.first().filter(|(first, _)| *first == 1).map_or(0, |(_, last)| *last);
    if let Err(error) = archive.note_pruned(lacking) {
        // The next opening reports it again.
        warn!(error = &error as &dyn std::error::Error, "cannot note the beginning of the journal");
    }
}

fn started_with(
    dir: &Path,
    shared: Shared,
    mut loaded: Loaded,
    report: OpenReport,
    disk: Option<(Space, Mark)>,
) -> Result<Opened, OpenError> {
    *shared.recent.lock().expect("the journal is not shared yet") = std::mem::take(&mut loaded.recent);
    let (rows, behind) = (std::mem::take(&mut loaded.rows), loaded.behind());
    let journal = Journal::start(shared, loaded, disk).opening("start the threads of", dir)?;
    Ok(Opened { journal, rows, behind, report })
}

pub(crate) fn in_memory(options: Options) -> (Shared, Loaded) {
    let backend = Arc::new(Memory::new(options.before_sync.clone()));
    let loaded = Loaded { hot_first: 1, ..Loaded::default() };
    (shared(options, backend, None, None, &loaded, None), loaded)
}

fn shared(
    options: Options,
    backend: Arc<dyn Backend>,
    archive: Option<Archive>,
    lock: Option<File>,
    loaded: &Loaded,
    read_only: Option<NewerFormat>,
) -> Shared {
    let needed = loaded.streams.values().filter(|state| state.behind).filter_map(|state| state.row).min();
    Shared {
        options,
        backend: RwLock::new(Some(backend)),
        lock: Mutex::new(lock),
        archive,
        hot_first: AtomicU64::new(loaded.hot_first),
        skipped: loaded.skipped.clone(),
        replay_after: AtomicU64::new(needed.unwrap_or(Seq::MAX)),
        recent: Mutex::default(),
        last: watch::Sender::new(loaded.last),
        fault: watch::Sender::new(None),
        closed: watch::Sender::new(false),
        read_only,
    }
}

/// Removes half-written snapshots, since the database refuses to open with a torn one.
fn remove_generating(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(dir).opening("list", dir)? {
        let entry = entry.opening("list", dir)?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            fs::remove_file(entry.path()).opening("remove", entry.path())?;
            removed.push(entry.path());
        }
    }
    Ok(removed)
}

fn log_opening(dir: &Path, report: &OpenReport) {
    let quiet = OpenReport { took: report.took, ..OpenReport::default() };
    if *report == quiet {
        info!(path = %dir.display(), took = ?report.took, "journal open");
    } else {
        warn!(path = %dir.display(), ?report, "journal open, after repairs");
    }
}

/// Creates a directory, and its missing parents, accessible to the owner alone.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
