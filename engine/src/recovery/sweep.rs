//! What lies under our roots and belongs to no container: reported, and removed when it is provably ours. Only after
//! every container was compared with the world, and only when the store is whole.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isulad_shim::{StateDir, pid_file};

use super::candidates::{Orphan, candidates, entries, unlisted};
use super::networks;
use crate::cause::chain;
use crate::definition;
use crate::domain::id::ContainerId;
use crate::effects;
use crate::engine::Engine;
use crate::journal;
use crate::journal::record::{Actor, Context};
use crate::rootfs::{self, Mounts};
use crate::runtime::instance;
use crate::spec::GroupPath;
use crate::spec::cgroup::Placement;

pub(super) async fn sweep(engine: &Arc<Engine>) {
    take_back_volumes(engine).await;
    let found = {
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || sweep_mounts_and_bundles(&engine))
    };
    match found.await {
        Ok(state_dirs) => {
            for orphan in state_dirs {
                sweep_state_dir(engine, &orphan).await;
            }
        }
        Err(error) => engine.warn(format!("the sweep ended abnormally: {error}")),
    }
    sweep_instances(engine).await;
    networks::sweep(engine).await;
    // Nothing of volumes is removed while directories of unknown containers are there: those that are ours are gone by now.
    crate::volume::sweep(engine).await;
}

/// What runtimes know of containers that nobody else does. Of what runs all the same nothing is ended here.
async fn sweep_instances(engine: &Arc<Engine>) {
    let of = engine.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let runtimes = listed(&of, &of.layout.state).into_iter();
        let names = runtimes.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let instances = names.flat_map(|runtime| {
            let root = of.layout.runtime_root(&runtime);
            let found = instance::all_in(&root).unwrap_or_else(|error| {
                of.warn(format!("cannot read the runtime's records in `{}`: {error}", root.display()));
                vec![]
            });
            found.into_iter().map(move |(id, instance)| (runtime.clone(), id, instance))
        });
        // A state directory that is left was kept, for a reason that is told; one that cannot be looked at may be left.
        let is_left =
            |runtime: &str, id: &ContainerId| of.layout.state_dir(runtime, id).path().try_exists().unwrap_or(true);
        let orphaned = instances.filter(|(runtime, id, _)| !of.containers.knows(id) && !is_left(runtime, id));
        orphaned.collect::<Vec<_>>()
    });
    for (name, id, instance) in looking.await.unwrap_or_default() {
        let Ok(runtime) = engine.runtime(&name) else { continue };
        // Asked first: a delete of what is created and not started kills its process.
        let deleted = match runtime.state(&instance).await {
            Ok(Some(state)) if state.status != "stopped" => {
                engine.warn(format!(
                    "{name} knows unknown container {}, below `{}`, which is {}; it is left alone",
                    id.short(),
                    instance.root.display(),
                    state.status
                ));
                continue;
            }
            Ok(_) => runtime.delete(&instance).await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => engine.warn(format!("{name} knew unknown container {}: its records are removed", id.short())),
            Err(error) => engine.warn(format!(
                "{name} knows unknown container {}, below `{}`; it is left alone: {}",
                id.short(),
                instance.root.display(),
                chain(&error)
            )),
        }
    }
}

/// Of creations that ended before their intent: the volumes that were made for them, as long as their definitions tell.
async fn take_back_volumes(engine: &Arc<Engine>) {
    let of = engine.clone();
    let looking = tokio::task::spawn_blocking(move || {
        // What is not listed keeps its volumes, and is told of by what is swept next.
        let bundles = candidates(&of.layout.engines()).found.into_iter();
        let unborn = bundles.filter(|orphan| !of.containers.knows(&orphan.id) && is_unborn(&orphan.path));
        let read = |orphan: Orphan| {
            let path = of.layout.bundle(&orphan.runtime, &orphan.id).definition();
            definition::read_unvouched(&path).ok().map(|(definition, _)| (orphan.id, definition))
        };
        unborn.filter_map(read).collect::<Vec<_>>()
    });
    let context = Context::new(Actor::Recovery);
    for (id, definition) in looking.await.unwrap_or_default() {
        effects::take_back(engine, id, &definition, &context).await;
    }
}

/// Mounts and bundles at once; the state directories are for the caller, who can wait for processes.
fn sweep_mounts_and_bundles(engine: &Engine) -> Vec<Orphan> {
    // Asked about after the directories are listed, and a creation under way is known from before it makes its own.
    let roots = [engine.layout.engines(), engine.layout.state.clone()];
    let [bundles, states] = roots.map(|root| candidates(&root).whole());
    let (bundles, states) = match (bundles, states) {
        (Ok(bundles), Ok(states)) => (bundles, states),
        // One list says what must stay of what the other would give up.
        (bundles, states) => {
            let problems: Vec<String> = bundles.err().into_iter().chain(states.err()).collect();
            engine.warn(format!("what belongs to no container is left alone: {}", problems.join("; ")));
            return vec![];
        }
    };
    let places = [engine.layout.mounts(), engine.layout.engines()].map(as_listed);
    let mounts = rootfs::mounts_below(&[&places[0], &places[1]]);
    let removed = removed_among(engine, bundles.iter().chain(&states));
    // A directory with more in it than a creation writes is not provably nobody's, unless its removal is recorded: whoever it
    // was may still run.
    let written = bundles.iter().filter(|bundle| !removed.contains(&bundle.id) && !is_unborn(&bundle.path));
    let living = states.iter().filter(|state| has_life(engine, state));
    let kept: Vec<ContainerId> = written.chain(living).map(|orphan| orphan.id).collect();
    let known = |id: &ContainerId| engine.containers.knows(id) || kept.contains(id);
    match mounts {
        Ok(mounts) => {
            for mount in mounts.iter().rev() {
                if let Some(id) = owner(&places, &mount.target).filter(|id| !known(id)) {
                    engine.warn(format!(
                        "mount `{}` of unknown container {}: unmounted",
                        mount.target.display(),
                        id.short()
                    ));
                    tell(engine, rootfs::release(&mount.target).map_err(|error| chain(&error)));
                }
            }
        }
        Err(error) => engine.warn(format!("cannot read the mounts: {error}")),
    }
    for orphan in bundles.into_iter().filter(|orphan| !engine.containers.knows(&orphan.id) && orphan.path.exists()) {
        // Its end had not reached the disk when the power went.
        if removed.contains(&orphan.id) && !kept.contains(&orphan.id) {
            engine.warn(format!("directory `{}` of a removed container had come back: removed", orphan.path.display()));
            tell(engine, rootfs::remove_tree(&orphan.path, Mounts::Detach).map_err(|error| error.to_string()));
        // A creation that ended before its intent: it holds nothing but what the engine wrote.
        } else if is_unborn(&orphan.path) {
            engine.warn(format!("directory `{}` of a creation that never began: removed", orphan.path.display()));
            tell(engine, rootfs::remove_tree(&orphan.path, Mounts::Detach).map_err(|error| error.to_string()));
        } else {
            engine.warn(format!("directory `{}` belongs to no container; it is kept", orphan.path.display()));
        }
    }
    // Only where nothing is in them: what is mounted was unmounted above.
    for path in listed(engine, &engine.layout.mounts()) {
        let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if id.is_some_and(|id| !known(&id)) {
            tell(engine, rootfs::release(&path).map_err(|error| chain(&error)));
        }
    }
    states.into_iter().filter(|orphan| !known(&orphan.id) && orphan.path.exists()).collect()
}

/// What is looked through for something to remove: where it cannot be listed, nothing of it is removed.
fn listed(engine: &Engine, dir: &Path) -> Vec<PathBuf> {
    entries(dir).unwrap_or_else(|error| {
        engine.warn(format!("{}; nothing of it is swept", unlisted(dir, &error)));
        vec![]
    })
}

/// Those that are unknown and whose removal is recorded.
fn removed_among<'a>(engine: &Engine, orphans: impl Iterator<Item = &'a Orphan>) -> BTreeSet<ContainerId> {
    let unknown = orphans.map(|orphan| orphan.id).filter(|id| !engine.containers.knows(id)).collect();
    journal::removed(&engine.journal, &unknown).unwrap_or_else(|error| {
        engine.warn(format!("what was removed is not known, and its directories are kept: {}", chain(&error)));
        BTreeSet::new()
    })
}

/// Mounts are listed without the links that an operator has put on the way.
fn as_listed(dir: PathBuf) -> PathBuf {
    dir.canonicalize().unwrap_or(dir)
}

/// The container whose directory this mount lies in.
fn owner([mounts, engines]: &[PathBuf; 2], target: &Path) -> Option<ContainerId> {
    let below_mounts = target.strip_prefix(mounts).ok();
    let below_engines = target.strip_prefix(engines).ok();
    let name = match (below_mounts, below_engines) {
        (Some(rest), _) => rest.components().next(),
        (None, Some(rest)) => rest.components().nth(1),
        (None, None) => None,
    };
    name?.as_os_str().to_str()?.parse().ok()
}

/// Whether nothing but what a creation writes is there. What cannot be looked at may be more.
pub(super) fn is_unborn(bundle: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(bundle) else { return false };
    entries.into_iter().all(|entry| {
        let Ok(entry) = entry else { return false };
        let (name, kind) = (entry.file_name(), entry.file_type());
        // Written beside its place first, under a name of its own.
        let name = name.to_str().map(|name| name.split_once(".tmp").map_or(name, |_| draft_of(name)));
        let known = name.is_some_and(|name| ["definition.json", "hostname", "hosts", "resolv.conf"].contains(&name));
        known && kind.is_ok_and(|kind| kind.is_file())
    })
}

/// `hosts` of `hosts.123-4.tmp`.
fn draft_of(name: &str) -> &str {
    let stem = name.strip_suffix(".tmp").unwrap_or(name);
    let (of, serial) = stem.rsplit_once('.').unwrap_or((stem, ""));
    if serial.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { of } else { name }
}

/// Cleared, if nothing lives in it. A shim or a process that lives is never ended here: no crash of ours leaves one that
/// the journal does not know, so it is somebody's container, and the journal is not the one it was started under.
async fn sweep_state_dir(engine: &Arc<Engine>, orphan: &Orphan) {
    let shown = orphan.path.display();
    if has_life(engine, orphan) {
        return engine.warn(format!(
            "`{shown}` is of a living container that the store does not know; it is left alone. Is this the right --graph?"
        ));
    }
    engine.warn(format!("state directory `{shown}` belongs to no container: cleared"));
    let troubles = effects::delete_instances(engine, &orphan.runtime, &orphan.id).await;
    if !troubles.is_empty() && engine.runtime(&orphan.runtime).is_ok() {
        return engine.warn(troubles.join("; "));
    }
    let path = orphan.path.clone();
    let removed = tokio::task::spawn_blocking(move || rootfs::remove_tree(&path, Mounts::Detach)).await;
    tell(engine, removed.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(|error| error.to_string()));
}

/// By its pid files, and by its cgroup: a pid file that is gone or damaged tells nothing of what is in there.
fn has_life(engine: &Engine, orphan: &Orphan) -> bool {
    let state = StateDir::new(orphan.path.clone());
    for path in [state.shim_pid(), state.pid()] {
        match pid_file::read(&path) {
            Ok(process) if process.is_some_and(|process| process.alive()) => return true,
            Ok(_) => {}
            Err(error) => {
                engine.warn(chain(&error));
            }
        }
    }
    group_lives(engine, orphan)
}

/// By where a start puts it now: what cannot be looked at may live.
fn group_lives(engine: &Engine, orphan: &Orphan) -> bool {
    let id = orphan.id.to_string();
    let note = engine.layout.bundle(&orphan.runtime, &orphan.id).cgroup_note();
    let noted = GroupPath::read(&note, &id).ok().flatten();
    let path = engine.layout.bundle(&orphan.runtime, &orphan.id).definition();
    let parent = definition::read_unvouched(&path).map(|(definition, _)| definition.cgroup_parent).unwrap_or_default();
    let config = &engine.config;
    let placed = Placement::below(&parent, &config.cgroup_parent, config.systemd_cgroup, &id);
    let placed = placed.ok().map(|placed| placed.path);
    noted.iter().chain(&placed).any(|group| engine.host.cgroups.processes(group).map_or(true, |pids| !pids.is_empty()))
}

fn tell(engine: &Engine, outcome: Result<(), String>) {
    if let Err(problem) = outcome {
        engine.warn(format!("the sweep left something: {problem}"));
    }
}
