//! Rebuilds containers that a damaged store does not know from their bundles and state directories, each with a
//! warning. A container with a new history is better than one without supervision.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use isulad_shim::process::ProcessError;
use isulad_shim::{ExitRecord, pid_file, process, shims, state_dir};

use super::candidates::{Candidate, Candidates, candidates};
use crate::cause::chain;
use crate::clock;
use crate::definition::{self, Definition, MountKind};
use crate::domain::container::Event;
use crate::domain::id::{Digest, Name, StartId, Timestamp, VolumeName};
use crate::effects::to_process;
use crate::engine::Engine;
use crate::journal::record::{Actor, Context};
use crate::network::record::Record as NetworkRecord;
use crate::runtime::instance;
use crate::supervisor::to_recorded_exit;
use crate::volume;

pub(super) async fn rebuild(engine: &Arc<Engine>) {
    let engines = engine.layout.engines();
    let listing = tokio::task::spawn_blocking(move || candidates(&engines)).await;
    let Candidates { found, unlisted } = listing.unwrap_or_else(|panic| Candidates {
        unlisted: vec![format!("the directories of containers were not listed: {panic}")],
        ..Candidates::default()
    });
    for problem in unlisted {
        engine.warn(format!("containers may be missing in the store and are not rebuilt: {problem}"));
    }
    for candidate in found {
        // Also true of a container that a user is creating at this moment.
        if engine.containers.knows(&candidate.id) {
            continue;
        }
        let (short, path) = (candidate.id.short(), candidate.path.display().to_string());
        match rebuild_one(engine, candidate).await {
            Ok(name) => {
                engine.warn(format!("container {short} ({name}) was missing in the store, rebuilt from `{path}`"));
            }
            Err(problem) => {
                engine.warn(format!("container {short} cannot be rebuilt: {problem}; its files are kept"));
            }
        }
    }
}

async fn rebuild_one(engine: &Arc<Engine>, candidate: Candidate) -> Result<Name, String> {
    let of = engine.clone();
    let reading = tokio::task::spawn_blocking(move || (read(&of, &candidate), candidate));
    let (read, candidate) = reading.await.map_err(|panic| panic.to_string())?;
    let FoundContainer { definition, digest, made_at, start_events } = read?;
    let name = free_name(engine, &definition.name, &candidate)?;
    let card = definition.card(name.clone(), digest, made_at);
    let mut events = vec![Event::Created { id: candidate.id, card }];
    events.extend(start_events);
    let context = Context::new(Actor::Recovery);
    let recorded = engine.containers.record_rebuilt(&candidate.id, &context, &events).await;
    if recorded.is_err() {
        engine.containers.release_name(&name, candidate.id);
    }
    recorded.map_err(|error| error.to_string())?;
    record_volumes(engine, &definition, &context).await;
    Ok(name)
}

/// Records the container's volumes again, since the store has lost them with it, with their data. A volume without a
/// directory is not made anew.
async fn record_volumes(engine: &Arc<Engine>, definition: &Definition, context: &Context) {
    for mount in definition.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
        let Ok(name) = mount.name.parse::<VolumeName>() else { continue };
        let data = engine.layout.volume_data(&name);
        if engine.volumes.records.get(&name).is_some() || !tokio::fs::try_exists(&data).await.unwrap_or(false) {
            continue;
        }
        match volume::ensure(engine, &name, mount.anonymous, BTreeMap::new(), context).await {
            Ok(data) => engine.warn(format!(
                "volume {name} was missing in the store, rebuilt from `{}` without its labels",
                data.display()
            )),
            Err(error) => engine.warn(format!("volume {name} cannot be rebuilt: {}; it is kept", chain(&error))),
        }
    }
}

/// The container as its files describe it.
struct FoundContainer {
    definition: Definition,
    digest: Digest,
    made_at: Timestamp,
    start_events: Vec<Event>,
}

/// Blocks on the disk.
fn read(engine: &Engine, candidate: &Candidate) -> Result<FoundContainer, String> {
    let path = candidate.path.join("definition.json");
    let (definition, digest) = definition::read_unverified(&path).map_err(|error| chain(&error))?;
    if definition.id != candidate.id.to_string() || definition.runtime != candidate.runtime {
        return Err("its definition is of another container".to_owned());
    }
    Ok(FoundContainer { definition, digest, made_at: made_at(&path), start_events: start_events(engine, candidate)? })
}

/// The name with which it was created, if it is free; otherwise its id.
fn free_name(engine: &Engine, wanted: &str, candidate: &Candidate) -> Result<Name, String> {
    for text in [wanted, &candidate.id.to_string()] {
        if let Ok(name) = text.parse::<Name>()
            && engine.containers.reserve_name(&name, candidate.id).is_ok()
        {
            return Ok(name);
        }
    }
    Err("no name is free for it".to_owned())
}

fn made_at(path: &Path) -> Timestamp {
    let modified = path.metadata().and_then(|meta| meta.modified()).ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).map_or_else(clock::now, Timestamp)
}

/// The events of the start in the state directory: recovery compares it with the world like any other. Where that
/// directory is cleared, those of the run before, as far as its exit record shows.
fn start_events(engine: &Engine, candidate: &Candidate) -> Result<Vec<Event>, String> {
    let state = engine.layout.state_dir(&candidate.runtime, &candidate.id);
    let description = state.file(state_dir::PROCESS);
    let start = match process::Process::read(&description) {
        Ok(process) => StartId(process.start),
        Err(ProcessError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(ended_run(engine, candidate));
        }
        Err(error) => match start_by_record(engine, candidate)? {
            Some(start) => {
                let known = "its start is taken from the runtime's record";
                engine.warn(format!("container {}: {}; {known}", candidate.id.short(), chain(&error)));
                start
            }
            None if pid_file::read(&state.pid()).is_ok_and(|first| first.is_none_or(|first| !first.alive())) => {
                engine.warn(format!("container {}: {}; nothing of it runs", candidate.id.short(), chain(&error)));
                return Ok(ended_run(engine, candidate));
            }
            None => return Err(format!("{}; whether it runs is not known", chain(&error))),
        },
    };
    let at = made_at(&description);
    let mut events = vec![Event::StartRequested { start, boot: engine.boot, at }];
    if let Ok(Some(first)) = pid_file::read(&state.pid()) {
        // A foreign process is not recorded as the shim: recovery would watch it.
        let shim = shims::named(&state).ok().flatten().map(to_process);
        events.push(Event::Started { start, process: to_process(first), shim, at });
    }
    events.extend(attached(engine, candidate, start));
    Ok(events)
}

/// The last start that the runtime has a record of.
fn start_by_record(engine: &Engine, candidate: &Candidate) -> Result<Option<StartId>, String> {
    let root = engine.layout.runtime_root(&candidate.runtime);
    let left = instance::left_of(&root, &candidate.id);
    let left = left.map_err(|error| format!("cannot read the runtime's records in `{}`: {error}", root.display()))?;
    Ok(left.iter().filter_map(instance::start_of).max_by_key(|start| start.0))
}

/// The events of the whole run that ended with the exit record. As events, not as a report: the consequence of the
/// exit, a restart or not, was decided at the time and is not decided again.
fn ended_run(engine: &Engine, candidate: &Candidate) -> Vec<Event> {
    let bundle = engine.layout.bundle(&candidate.runtime, &candidate.id);
    let record = match ExitRecord::read(&bundle.exit_record()) {
        Ok(Some(record)) => to_recorded_exit(record),
        Ok(None) => return vec![],
        Err(error) => {
            engine.warn(format!("container {}: {}", candidate.id.short(), chain(&error)));
            return vec![];
        }
    };
    // Every start writes the spec.
    let at = made_at(&bundle.spec()).min(record.at);
    let start = record.start;
    let mut events = vec![
        Event::StartRequested { start, boot: engine.boot, at },
        Event::Started { start, process: record.process, shim: None, at },
    ];
    if record.oom {
        events.push(Event::OomKilled { start });
    }
    events.push(Event::Exited { start, status: record.status, at: record.at });
    events
}

/// The events of this start's networks.
fn attached(engine: &Engine, candidate: &Candidate, start: StartId) -> Vec<Event> {
    let place = engine.layout.bundle(&candidate.runtime, &candidate.id).network();
    let record = match place.read() {
        Ok(record) => record.filter(|record| record.container.starts_with(&format!("{}-{}-", candidate.id, start.0))),
        Err(error) => {
            engine.warn(format!("container {}: {}", candidate.id.short(), chain(&error)));
            None
        }
    };
    let attachments = |record: NetworkRecord| record.addresses().collect::<Vec<_>>();
    let networks = record.map(attachments).unwrap_or_default().into_iter();
    networks.map(|(network, addresses)| Event::NetworkAttached { start, network, addresses }).collect()
}
