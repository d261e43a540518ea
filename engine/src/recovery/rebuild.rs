//! Rebuilds containers that a damaged store does not know from their bundles and state directories, each with a
//! warning. A container with a new history is better than one without supervision.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::{Files, Newest, made_at};
use crate::cause::chain;
use crate::definition::{self, Definition, MountKind};
use crate::domain::container::Event;
use crate::domain::id::{Digest, Name, Timestamp, VolumeName};
use crate::engine::Engine;
use crate::journal::record::{Actor, Context};
use crate::records::{Candidate, Candidates, candidates};

pub(super) async fn rebuild(engine: &Arc<Engine>) {
    let engines = engine.node.layout.engines();
    let listing = tokio::task::spawn_blocking(move || candidates(&engines)).await;
    let Candidates { found, unlisted } = listing.unwrap_or_else(|panic| Candidates {
        unlisted: vec![format!("the directories of containers were not listed: {panic}")],
        ..Candidates::default()
    });
    for problem in unlisted {
        engine.node.warn(format!("containers may be missing in the store and are not rebuilt: {problem}"));
    }
    for candidate in found {
        // Also true of a container that a user is creating at this moment.
        if engine.containers.knows(&candidate.id) {
            continue;
        }
        let (short, path) = (candidate.id.short(), candidate.path.display().to_string());
        match rebuild_one(engine, candidate).await {
            Ok(name) => {
                engine.node.warn(format!("container {short} ({name}) was missing in the store, rebuilt from `{path}`"));
            }
            Err(problem) => {
                engine.node.warn(format!("container {short} cannot be rebuilt: {problem}; its files are kept"));
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
        let data = engine.node.layout.volume_data(&name);
        if engine.volumes.ledger().get(&name).is_some() || !tokio::fs::try_exists(&data).await.unwrap_or(false) {
            continue;
        }
        match engine.volumes.ensure(&name, mount.anonymous, BTreeMap::new(), context).await {
            Ok(data) => engine.node.warn(format!(
                "volume {name} was missing in the store, rebuilt from `{}` without its labels",
                data.display()
            )),
            Err(error) => engine.node.warn(format!("volume {name} cannot be rebuilt: {}; it is kept", chain(&error))),
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
    let files = Files::read(engine, candidate);
    for problem in &files.problems {
        engine.node.warn(format!("container {}: {problem}", candidate.id.short()));
    }
    let start_events = match &files.newest {
        Newest::None => vec![],
        Newest::Start(start) => files.events(engine, candidate, start),
        Newest::Unknown(problem) => return Err(problem.clone()),
    };
    Ok(FoundContainer { definition, digest, made_at: made_at(&path), start_events })
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
