//! Sweeps files and mounts under the engine's roots that belong to no container: reported, and removed when they are
//! provably the engine's. Only after every container was compared with the world, and only when the store is whole.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isulad_shim::{StateDir, pid_file};

use super::networks;
use crate::cause::chain;
use crate::definition;
use crate::domain::id::ContainerId;
use crate::effects;
use crate::engine::Engine;
use crate::journal;
use crate::journal::record::{Actor, Context};
use crate::records::{Candidate, candidates, entries, is_unborn, unlisted};
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
            for candidate in state_dirs {
                sweep_state_dir(engine, &candidate).await;
            }
        }
        Err(error) => engine.node.warn(format!("the sweep ended abnormally: {error}")),
    }
    sweep_instances(engine).await;
    networks::sweep(engine).await;
    // Volumes are swept last: none is removed while there are directories of unknown containers, and the engine's own
    // ones are gone by now.
    engine.volumes.sweep().await;
}

/// Deletes runtimes' records of unknown containers. A running one is not ended here.
async fn sweep_instances(engine: &Arc<Engine>) {
    let of = engine.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let runtimes = listed(&of, &of.node.layout.state).into_iter();
        let names = runtimes.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let instances = names.flat_map(|runtime| {
            let root = of.node.layout.runtime_root(&runtime);
            let found = instance::all_in(&root).unwrap_or_else(|error| {
                of.node.warn(format!("cannot read the runtime's records in `{}`: {error}", root.display()));
                vec![]
            });
            found.into_iter().map(move |(id, instance)| (runtime.clone(), id, instance))
        });
        // A state directory that is still there was kept, with a warning; one that cannot be examined may be there.
        let is_left =
            |runtime: &str, id: &ContainerId| of.node.layout.state_dir(runtime, id).path().try_exists().unwrap_or(true);
        let orphaned = instances.filter(|(runtime, id, _)| !of.containers.knows(id) && !is_left(runtime, id));
        orphaned.collect::<Vec<_>>()
    });
    for (name, id, instance) in looking.await.unwrap_or_default() {
        let Ok(runtime) = engine.node.runtime(&name) else { continue };
        // The state is read first: deleting an instance that is created and not started would kill its process.
        let deleted = match runtime.state(&instance).await {
            Ok(Some(state)) if state.status != "stopped" => {
                engine.node.warn(format!(
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
            Ok(()) => {
                engine.node.warn(format!("{name} knew unknown container {}: its records are removed", id.short()))
            }
            Err(error) => engine.node.warn(format!(
                "{name} knows unknown container {}, below `{}`; it is left alone: {}",
                id.short(),
                instance.root.display(),
                chain(&error)
            )),
        }
    }
}

/// Removes the volumes of creations that ended before their first event, as long as their definitions are there.
async fn take_back_volumes(engine: &Arc<Engine>) {
    let of = engine.clone();
    let looking = tokio::task::spawn_blocking(move || {
        // A creation that cannot be listed keeps its volumes; the next sweep warns of it.
        let bundles = candidates(&of.node.layout.engines()).found.into_iter();
        let unborn = bundles.filter(|candidate| !of.containers.knows(&candidate.id) && is_unborn(&candidate.path));
        let read = |candidate: Candidate| {
            let path = of.node.layout.bundle(&candidate.runtime, &candidate.id).definition();
            definition::read_unverified(&path).ok().map(|(definition, _)| (candidate.id, definition))
        };
        unborn.filter_map(read).collect::<Vec<_>>()
    });
    let context = Context::new(Actor::Recovery);
    for (id, definition) in looking.await.unwrap_or_default() {
        engine.volumes.take_back(id, &definition, &context).await;
    }
}

/// Sweeps mounts and bundles; returns the state directories, since only the asynchronous caller can wait for their
/// processes.
fn sweep_mounts_and_bundles(engine: &Engine) -> Vec<Candidate> {
    // The directories are listed before the engine is asked for each: a creation under way is known before it makes its
    // directory.
    let roots = [engine.node.layout.engines(), engine.node.layout.state.clone()];
    let [bundles, states] = roots.map(|root| candidates(&root).whole());
    let (bundles, states) = match (bundles, states) {
        (Ok(bundles), Ok(states)) => (bundles, states),
        // The directories in one list protect those of the same container in the other, so both are needed.
        (bundles, states) => {
            let problems: Vec<String> = bundles.err().into_iter().chain(states.err()).collect();
            engine.node.warn(format!("what belongs to no container is left alone: {}", problems.join("; ")));
            return vec![];
        }
    };
    let places = [engine.node.layout.mounts(), engine.node.layout.engines()].map(as_listed);
    let mounts = rootfs::mounts_below(&[&places[0], &places[1]]);
    let removed = removed_among(engine, bundles.iter().chain(&states));
    // A directory with more files than a creation writes may belong to a running container, unless its removal is
    // recorded.
    let written = bundles.iter().filter(|bundle| !removed.contains(&bundle.id) && !is_unborn(&bundle.path));
    let living = states.iter().filter(|state| has_processes(engine, state));
    let kept: Vec<ContainerId> = written.chain(living).map(|candidate| candidate.id).collect();
    let known = |id: &ContainerId| engine.containers.knows(id) || kept.contains(id);
    match mounts {
        Ok(mounts) => {
            for mount in mounts.iter().rev() {
                if let Some(id) = owner(&places, &mount.target).filter(|id| !known(id)) {
                    engine.node.warn(format!(
                        "mount `{}` of unknown container {}: unmounted",
                        mount.target.display(),
                        id.short()
                    ));
                    warn_of(engine, rootfs::release(&mount.target).map_err(|error| chain(&error)));
                }
            }
        }
        Err(error) => engine.node.warn(format!("cannot read the mounts: {error}")),
    }
    for candidate in
        bundles.into_iter().filter(|candidate| !engine.containers.knows(&candidate.id) && candidate.path.exists())
    {
        // The removal had not reached the disk before a power cut.
        if removed.contains(&candidate.id) && !kept.contains(&candidate.id) {
            engine.node.warn(format!(
                "directory `{}` of a removed container had come back: removed",
                candidate.path.display()
            ));
            warn_of(engine, rootfs::remove_tree(&candidate.path, Mounts::Detach).map_err(|error| error.to_string()));
        // A creation that ended before its first event: the directory has only files that the engine wrote.
        } else if is_unborn(&candidate.path) {
            engine
                .node
                .warn(format!("directory `{}` of a creation that never began: removed", candidate.path.display()));
            warn_of(engine, rootfs::remove_tree(&candidate.path, Mounts::Detach).map_err(|error| error.to_string()));
        } else {
            engine.node.warn(format!("directory `{}` belongs to no container; it is kept", candidate.path.display()));
        }
    }
    // Only empty directories are removed: mounts were unmounted above.
    for path in listed(engine, &engine.node.layout.mounts()) {
        let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if id.is_some_and(|id| !known(&id)) {
            warn_of(engine, rootfs::release(&path).map_err(|error| chain(&error)));
        }
    }
    states.into_iter().filter(|candidate| !known(&candidate.id) && candidate.path.exists()).collect()
}

/// The entries of a directory that is swept; none, with a warning, when it cannot be listed.
fn listed(engine: &Engine, dir: &Path) -> Vec<PathBuf> {
    entries(dir).unwrap_or_else(|error| {
        engine.node.warn(format!("{}; nothing of it is swept", unlisted(dir, &error)));
        vec![]
    })
}

/// The unknown candidates with a recorded removal.
fn removed_among<'a>(engine: &Engine, orphans: impl Iterator<Item = &'a Candidate>) -> BTreeSet<ContainerId> {
    let unknown = orphans.map(|candidate| candidate.id).filter(|id| !engine.containers.knows(id)).collect();
    journal::removed(&engine.journal, &unknown).unwrap_or_else(|error| {
        engine.node.warn(format!("what was removed is not known, and its directories are kept: {}", chain(&error)));
        BTreeSet::new()
    })
}

/// The path as the kernel lists it in mounts: without the links of an operator.
fn as_listed(dir: PathBuf) -> PathBuf {
    dir.canonicalize().unwrap_or(dir)
}

/// The container with the directory in which this mount lies.
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

/// Clears a state directory, if no process lives in it. A living shim or process is never ended here: no crash of the
/// daemon leaves one that the journal does not know, so its container belongs to another store, and this journal is not
/// the one under which it was started.
async fn sweep_state_dir(engine: &Arc<Engine>, candidate: &Candidate) {
    let shown = candidate.path.display();
    if has_processes(engine, candidate) {
        return engine.node.warn(format!(
            "`{shown}` is of a living container that the store does not know; it is left alone. Is this the right --graph?"
        ));
    }
    engine.node.warn(format!("state directory `{shown}` belongs to no container: cleared"));
    let problems = effects::delete_instances(&engine.node, &candidate.runtime, &candidate.id).await;
    if !problems.is_empty() && engine.node.runtime(&candidate.runtime).is_ok() {
        return engine.node.warn(problems.join("; "));
    }
    let path = candidate.path.clone();
    let removed = tokio::task::spawn_blocking(move || rootfs::remove_tree(&path, Mounts::Detach)).await;
    warn_of(engine, removed.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(|error| error.to_string()));
}

/// Whether a process lives, by the pid files and by the cgroup: a missing or damaged pid file proves nothing.
pub(super) fn has_processes(engine: &Engine, candidate: &Candidate) -> bool {
    let state = StateDir::new(candidate.path.clone());
    for path in [state.shim_pid(), state.pid()] {
        match pid_file::read(&path) {
            Ok(process) if process.is_some_and(|process| process.alive()) => return true,
            Ok(_) => {}
            Err(error) => {
                engine.node.warn(chain(&error));
            }
        }
    }
    group_lives(engine, candidate)
}

/// Whether the cgroup has processes, at its recorded and its present place; true when it cannot be read.
fn group_lives(engine: &Engine, candidate: &Candidate) -> bool {
    let id = candidate.id.to_string();
    let note = engine.node.layout.bundle(&candidate.runtime, &candidate.id).cgroup_note();
    let noted = GroupPath::read(&note, &id).ok().flatten();
    let path = engine.node.layout.bundle(&candidate.runtime, &candidate.id).definition();
    let parent = definition::read_unverified(&path).map(|(definition, _)| definition.cgroup_parent).unwrap_or_default();
    let config = &engine.node.config;
    let placed = Placement::below(&parent, &config.cgroup_parent, config.systemd_cgroup, &id);
    let placed = placed.ok().map(|placed| placed.path);
    noted
        .iter()
        .chain(&placed)
        .any(|group| engine.node.host.cgroups.processes(group).map_or(true, |pids| !pids.is_empty()))
}

fn warn_of(engine: &Engine, outcome: Result<(), String>) {
    if let Err(problem) = outcome {
        engine.node.warn(format!("the sweep left something: {problem}"));
    }
}
