//! The newest start of a container that its files show, as events, for a store that has lost them. Files may be damaged
//! or foreign: each is used only as far as it proves itself.

use std::io;
use std::path::{Path, PathBuf};

use isulad_shim::process::ProcessError;
use isulad_shim::{ExitRecord, StateDir, pid_file, process, shims};

use crate::cause::chain;
use crate::clock;
use crate::domain::container::{Event, RecordedExit};
use crate::domain::id::{StartId, Timestamp};
use crate::engine::Engine;
use crate::network::record::Record as NetworkRecord;
use crate::records::{Candidate, to_process};
use crate::runtime::{Instance, instance};
use crate::shim_process::to_recorded_exit;

/// A container's files, as far as they show its starts.
#[derive(Debug)]
pub(super) struct Files {
    pub newest: Newest,
    /// The readable exit records.
    pub exits: Vec<RecordedExit>,
    pub problems: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Newest {
    /// The files show no start.
    None,
    Start(FoundStart),
    /// The files do not show whether a start runs.
    Unknown(String),
}

#[derive(Debug)]
pub(super) struct FoundStart {
    pub start: StartId,
    pub at: Timestamp,
    /// The file that shows it.
    pub source: PathBuf,
    /// Where an exit record alone is left of it.
    pub end: Option<RecordedExit>,
}

/// The description of a start in the state directory.
enum Description {
    Missing,
    Start(StartId),
    Damaged(String),
}

impl Files {
    /// Blocks on the disk.
    pub(super) fn read(engine: &Engine, candidate: &Candidate) -> Self {
        let state = engine.node.layout.state_dir(&candidate.runtime, &candidate.id);
        let mut files = Self { newest: Newest::None, exits: vec![], problems: vec![] };
        files.read_exits(engine, candidate, &state);
        files.newest = files.find_newest(engine, candidate, &state).map_or_else(Newest::Unknown, |found| match found {
            Some(found) => Newest::Start(found),
            None => Newest::None,
        });
        files
    }

    /// The start that is described in the state directory, else that of the runtime's record, else the one that ended
    /// last. The error tells that it may run all the same.
    fn find_newest(
        &mut self,
        engine: &Engine,
        candidate: &Candidate,
        state: &StateDir,
    ) -> Result<Option<FoundStart>, String> {
        let damage = match describe(engine, candidate, state) {
            Description::Start(start) => {
                let source = state.process();
                return Ok(Some(FoundStart { start, at: made_at(&source), source, end: None }));
            }
            Description::Missing => None,
            Description::Damaged(problem) => Some(problem),
        };
        let ended = self.exits.iter().max_by_key(|exit| exit.start).cloned();
        let left = match (start_by_record(engine, candidate), &damage) {
            (Ok(left), _) => left,
            (Err(problem), Some(_)) => return Err(problem),
            // Only the end of a start removes its description.
            (Err(_), None) => None,
        };
        if let Some((start, source)) = left.filter(|(start, _)| ended.as_ref().is_none_or(|exit| exit.start < *start)) {
            let known = "its start is taken from the runtime's record";
            self.problems.extend(damage.map(|problem| format!("{problem}; {known}")));
            return Ok(Some(FoundStart { start, at: made_at(&source), source, end: None }));
        }
        if let Some(problem) = damage {
            if !pid_file::read(&state.pid()).is_ok_and(|first| first.is_none_or(|first| !first.alive())) {
                return Err(format!("{problem}; whether it runs is not known"));
            }
            self.problems.push(format!("{problem}; nothing of it runs"));
        }
        let bundle = engine.node.layout.bundle(&candidate.runtime, &candidate.id);
        Ok(ended.map(|end| FoundStart {
            start: end.start,
            // Every start writes the spec.
            at: made_at(&bundle.spec()).min(end.at),
            source: bundle.exit_record(),
            end: Some(end),
        }))
    }

    fn read_exits(&mut self, engine: &Engine, candidate: &Candidate, state: &StateDir) {
        let bundle = engine.node.layout.bundle(&candidate.runtime, &candidate.id);
        for path in [bundle.exit_record(), state.exit_fallback()] {
            match ExitRecord::read(&path) {
                Ok(found) => self.exits.extend(found.map(to_recorded_exit)),
                Err(error) => self.problems.push(chain(&error)),
            }
        }
    }

    /// The events of this start: recovery compares it with the world like any other. As events, not as reports: the
    /// consequence of an exit, a restart or not, was decided at the time and is not decided again.
    pub(super) fn events(&self, engine: &Engine, candidate: &Candidate, found: &FoundStart) -> Vec<Event> {
        let (start, at) = (found.start, found.at);
        let mut events = vec![Event::StartRequested { start, boot: engine.node.boot, at }];
        if let Some(end) = &found.end {
            events.push(Event::Started { start, process: end.process, shim: None, at });
            events.extend(ended(end));
            return events;
        }
        let state = engine.node.layout.state_dir(&candidate.runtime, &candidate.id);
        if let Ok(Some(first)) = pid_file::read(&state.pid()) {
            // A foreign process is not recorded as the shim: recovery would watch it.
            let shim = shims::named(&state).ok().flatten().map(to_process);
            events.push(Event::Started { start, process: to_process(first), shim, at });
        }
        events.extend(attached(engine, candidate, start));
        events
    }
}

/// The end of a run, as its exit record shows it.
pub(super) fn ended(end: &RecordedExit) -> impl Iterator<Item = Event> {
    let RecordedExit { start, status, at, oom, .. } = *end;
    oom.then_some(Event::OomKilled { start }).into_iter().chain([Event::Exited { start, status, at }])
}

fn describe(engine: &Engine, candidate: &Candidate, state: &StateDir) -> Description {
    let path = state.process();
    match process::Process::read(&path) {
        Ok(process) => {
            let root = engine.node.layout.runtime_root(&candidate.runtime);
            let instance = Instance::new(root, &candidate.id, StartId(process.start));
            if process.id == instance.id {
                Description::Start(StartId(process.start))
            } else {
                Description::Damaged(format!("`{}` is of another container", path.display()))
            }
        }
        Err(ProcessError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Description::Missing,
        Err(error) => Description::Damaged(chain(&error)),
    }
}

/// The last start that the runtime has a record of.
fn start_by_record(engine: &Engine, candidate: &Candidate) -> Result<Option<(StartId, PathBuf)>, String> {
    let root = engine.node.layout.runtime_root(&candidate.runtime);
    let left = instance::left_of(&root, &candidate.id);
    let left = left.map_err(|error| format!("cannot read the runtime's records in `{}`: {error}", root.display()))?;
    let starts = left.iter().filter_map(|left| Some((instance::start_of(left)?, left.directory())));
    Ok(starts.max_by_key(|(start, _)| *start))
}

/// When the file was written.
pub(super) fn made_at(path: &Path) -> Timestamp {
    let modified = path.metadata().and_then(|meta| meta.modified()).ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).map_or_else(clock::now, Timestamp)
}

/// The events of this start's networks.
fn attached(engine: &Engine, candidate: &Candidate, start: StartId) -> Vec<Event> {
    let place = engine.node.layout.bundle(&candidate.runtime, &candidate.id).network();
    let record = match place.read() {
        Ok(record) => record.filter(|record| record.container.starts_with(&format!("{}-{}-", candidate.id, start.0))),
        Err(error) => {
            engine.node.warn(format!("container {}: {}", candidate.id.short(), chain(&error)));
            None
        }
    };
    let attachments = |record: NetworkRecord| record.addresses().collect::<Vec<_>>();
    let networks = record.map(attachments).unwrap_or_default().into_iter();
    networks.map(|(network, addresses)| Event::NetworkAttached { start, network, addresses }).collect()
}
