//! When the store is not whole: containers that it does not know are put together again from their bundles and state
//! directories, loudly. Better a container whose history begins again than one that nobody looks after.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use isulad_shim::process::ProcessError;
use isulad_shim::{ExitRecord, pid_file, process, shims, state_dir};

use super::candidates::{Candidates, Orphan, candidates};
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
use crate::supervisor::to_found;
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
    for orphan in found {
        // Also one that a user is creating at this moment.
        if engine.containers.knows(&orphan.id) {
            continue;
        }
        let (short, path) = (orphan.id.short(), orphan.path.display().to_string());
        match rebuild_one(engine, orphan).await {
            Ok(name) => {
                engine.warn(format!("container {short} ({name}) was missing in the store, rebuilt from `{path}`"));
            }
            Err(problem) => {
                engine.warn(format!("container {short} cannot be rebuilt: {problem}; its files are kept"));
            }
        }
    }
}

async fn rebuild_one(engine: &Arc<Engine>, orphan: Orphan) -> Result<Name, String> {
    let of = engine.clone();
    let reading = tokio::task::spawn_blocking(move || (read(&of, &orphan), orphan));
    let (read, orphan) = reading.await.map_err(|panic| panic.to_string())?;
    let Read { definition, digest, made_at, begun } = read?;
    let name = free_name(engine, &definition.name, &orphan)?;
    let card = definition.card(name.clone(), digest, made_at);
    let mut events = vec![Event::Created { id: orphan.id, card }];
    events.extend(begun);
    let context = Context::new(Actor::Recovery);
    let recorded = engine.containers.record_rebuilt(&orphan.id, &context, &events).await;
    if recorded.is_err() {
        engine.containers.release_name(&name, orphan.id);
    }
    recorded.map_err(|error| error.to_string())?;
    record_volumes(engine, &definition, &context).await;
    Ok(name)
}

/// The store has lost the volumes of a container with it: they are taken over with their data. One that has no directory is
/// not made anew.
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

/// What files tell of a container.
struct Read {
    definition: Definition,
    digest: Digest,
    made_at: Timestamp,
    begun: Vec<Event>,
}

/// Blocks on the disk.
fn read(engine: &Engine, orphan: &Orphan) -> Result<Read, String> {
    let path = orphan.path.join("definition.json");
    let (definition, digest) = definition::read_unvouched(&path).map_err(|error| chain(&error))?;
    if definition.id != orphan.id.to_string() || definition.runtime != orphan.runtime {
        return Err("its definition is of another container".to_owned());
    }
    Ok(Read { definition, digest, made_at: made_at(&path), begun: begun(engine, orphan)? })
}

/// The name it was created with, if nobody holds it; otherwise its id.
fn free_name(engine: &Engine, wanted: &str, orphan: &Orphan) -> Result<Name, String> {
    for text in [wanted, &orphan.id.to_string()] {
        if let Ok(name) = text.parse::<Name>()
            && engine.containers.reserve_name(&name, orphan.id).is_ok()
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

/// The start that the state directory tells of: recovery compares it with the world like any other. Where that directory
/// is cleared, the run before, as far as its exit record tells.
fn begun(engine: &Engine, orphan: &Orphan) -> Result<Vec<Event>, String> {
    let state = engine.layout.state_dir(&orphan.runtime, &orphan.id);
    let description = state.file(state_dir::PROCESS);
    let start = match process::Process::read(&description) {
        Ok(process) => StartId(process.start),
        Err(ProcessError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(ended(engine, orphan));
        }
        Err(error) => match start_by_record(engine, orphan)? {
            Some(start) => {
                let known = "its start is taken from the runtime's record";
                engine.warn(format!("container {}: {}; {known}", orphan.id.short(), chain(&error)));
                start
            }
            None if pid_file::read(&state.pid()).is_ok_and(|first| first.is_none_or(|first| !first.alive())) => {
                engine.warn(format!("container {}: {}; nothing of it runs", orphan.id.short(), chain(&error)));
                return Ok(ended(engine, orphan));
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
    events.extend(attached(engine, orphan, start));
    Ok(events)
}

/// The last start that the runtime has a record of.
fn start_by_record(engine: &Engine, orphan: &Orphan) -> Result<Option<StartId>, String> {
    let root = engine.layout.runtime_root(&orphan.runtime);
    let left = instance::left_of(&root, &orphan.id);
    let left = left.map_err(|error| format!("cannot read the runtime's records in `{}`: {error}", root.display()))?;
    Ok(left.iter().filter_map(instance::start_of).max_by_key(|start| start.0))
}

/// The whole run that ended with the exit record. As events, not as a report: what followed from the end, a restart or not,
/// was decided at the time and is not decided again.
fn ended(engine: &Engine, orphan: &Orphan) -> Vec<Event> {
    let bundle = engine.layout.bundle(&orphan.runtime, &orphan.id);
    let record = match ExitRecord::read(&bundle.exit_record()) {
        Ok(Some(record)) => to_found(record),
        Ok(None) => return vec![],
        Err(error) => {
            engine.warn(format!("container {}: {}", orphan.id.short(), chain(&error)));
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

/// The networks of this start.
fn attached(engine: &Engine, orphan: &Orphan, start: StartId) -> Vec<Event> {
    let place = engine.layout.bundle(&orphan.runtime, &orphan.id).network();
    let record = match place.read() {
        Ok(record) => record.filter(|record| record.container.starts_with(&format!("{}-{}-", orphan.id, start.0))),
        Err(error) => {
            engine.warn(format!("container {}: {}", orphan.id.short(), chain(&error)));
            None
        }
    };
    let told = |record: NetworkRecord| record.told().collect::<Vec<_>>();
    let networks = record.map(told).unwrap_or_default().into_iter();
    networks.map(|(network, addresses)| Event::NetworkAttached { start, network, addresses }).collect()
}
