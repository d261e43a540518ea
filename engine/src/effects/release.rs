//! Giving back what a run has used: the runtime's records, mounts, cgroup, state directory. Each step may be repeated,
//! and one that fails does not keep the others from happening.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{ProcessRef, StateDir, pid_file, shims, tree};

use super::network;
use crate::abandon::{self, Owner};
use crate::cause::chain;
use crate::domain::container::Container;
use crate::domain::id::{ContainerId, Signal};
use crate::engine::Engine;
use crate::exec;
use crate::failpoint;
use crate::rootfs::{self, ContainerDirs, Mounts};
use crate::runtime::instance;
use crate::spec::{GroupPath, NoteError};
use crate::sys;

/// The shim runs the runtime's `delete` after an exit; it has this long.
const SHIM_PATIENCE: Duration = Duration::from_secs(60);
/// A killed shim is gone soon after.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Unmounting waits for nobody, but file systems have hung before.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(60);

/// After an exit, or for a container that does not run: nothing of a run is left. Trouble is a warning; the next start,
/// removal or restart of the daemon tries again.
pub async fn release(engine: &Arc<Engine>, id: ContainerId) {
    let Some(entity) = engine.containers.get(&id) else { return };
    if !engine.supervisor.shim_left(&id, SHIM_PATIENCE).await {
        engine.warn(format!("container {}: its shim did not leave and is ended", id.short()));
    }
    if let Err(trouble) = give_back(engine, &entity.state).await {
        engine.warn(format!("container {}: {trouble}", id.short()));
    }
    failpoint::hit(failpoint::RELEASE_DONE);
}

/// A start that failed or was interrupted: the shim and whatever it made are ended.
pub async fn undo_start(engine: &Arc<Engine>, container: &Container) {
    if let Err(trouble) = give_back(engine, container).await {
        engine.warn(format!("container {}: the undone start left something: {trouble}", container.id.short()));
    }
}

/// Ends the shim, deletes at the runtime, unmounts, and removes the state directory. Answers all that went wrong; the
/// state directory is kept then, since it tells the next attempt what is left.
pub(super) async fn give_back(engine: &Arc<Engine>, container: &Container) -> Result<(), String> {
    let mut troubles = Vec::new();
    let state = engine.state_dir(container);
    if tokio::fs::try_exists(state.path()).await.unwrap_or(true) {
        // In this order: a shim that was only just started finds nothing to run and leaves, or is seen here.
        let _ = state.remove(isulad_shim::state_dir::PROCESS);
        if let Err(error) = end_shim(&state).await {
            troubles.push(format!("cannot end its shim: {error}"));
        }
    }
    let undeleted = delete_instances(engine, &container.card.runtime, &container.id).await;
    if let Err(error) = end_group(engine, container).await {
        troubles.push(format!("cannot empty its cgroup: {error}"));
    }
    // A record that is damaged, say: nothing that the runtime could end is left, so the record goes without it.
    if !undeleted.is_empty() && nothing_lives(engine, container, &state) {
        engine.warn(format!("container {}: {}; its record is removed", container.id.short(), undeleted.join("; ")));
        troubles.extend(remove_instances(engine, container).await);
    } else {
        troubles.extend(undeleted);
    }
    // Their processes are gone with the container: what is left is to hear how they ended.
    if !exec::end_all(engine, container).await {
        troubles.push("processes that were run in it do not end".to_owned());
    }
    // While nothing uses the namespace any more, and some plugins still find by it what they have to give back.
    troubles.extend(network::give_back(engine, container).await);
    let blocking = {
        let (engine, container, clear) = (engine.clone(), container.clone(), troubles.is_empty());
        abandon::blocking(move |owner| unmount_and_clear(&engine, &container, clear, owner))
    };
    match tokio::time::timeout(UNMOUNT_PATIENCE, blocking).await {
        Ok(Ok(more)) => troubles.extend(more),
        Ok(Err(panic)) => troubles.push(panic.to_string()),
        Err(_) => troubles.push(format!("its mounts are not gone after {} s", UNMOUNT_PATIENCE.as_secs())),
    }
    if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
}

/// Deletes what the runtime still knows of any start of the container, none of which runs; what could not be.
pub async fn delete_instances(engine: &Arc<Engine>, runtime: &str, id: &ContainerId) -> Vec<String> {
    let (root, of) = (engine.layout.runtime_root(runtime), *id);
    let looking = tokio::task::spawn_blocking(move || {
        let left = instance::left_of(&root, &of).map_err(|error| unreadable(&root, &error))?;
        let troubles: Vec<_> = left.iter().filter_map(|instance| instance.unmount().err()).collect();
        Ok((left, troubles))
    });
    let (left, mut troubles) = match looking.await {
        Ok(Ok(found)) => found,
        Ok(Err(trouble)) => return vec![trouble],
        Err(panic) => return vec![panic.to_string()],
    };
    for instance in left {
        let deleted = match engine.runtime(runtime) {
            Ok(runtime) => runtime.delete_by_force(&instance).await,
            Err(error) => Err(error),
        };
        troubles.extend(deleted.err().map(|error| chain(&error)));
    }
    troubles
}

fn unreadable(root: &Path, error: &io::Error) -> String {
    format!("cannot read the runtime's records in `{}`: {error}", root.display())
}

/// Neither the container's cgroup nor its first process, as far as both are known.
fn nothing_lives(engine: &Engine, container: &Container, state: &StateDir) -> bool {
    let group = engine.group(container);
    let empty = group.is_some_and(|group| engine.host.cgroups.processes(&group).is_ok_and(|pids| pids.is_empty()));
    empty && pid_file::read(&state.pid()).is_ok_and(|process| process.is_none_or(|process| !process.alive()))
}

/// What the runtime has on disk of the container; what could not be removed.
async fn remove_instances(engine: &Arc<Engine>, container: &Container) -> Vec<String> {
    let (root, id) = (engine.layout.runtime_root(&container.card.runtime), container.id);
    let removing = abandon::blocking(move |_| {
        let left = match instance::left_of(&root, &id) {
            Ok(left) => left.into_iter().map(|instance| instance.directory()),
            Err(error) => return vec![unreadable(&root, &error)],
        };
        let removed = left.map(|dir| (rootfs::remove_tree(&dir, Mounts::Detach), dir));
        let troubles =
            removed.filter_map(|(removed, dir)| Some(format!("cannot remove `{}`: {}", dir.display(), removed.err()?)));
        troubles.collect()
    });
    removing.await.unwrap_or_else(|panic| vec![panic.to_string()])
}

/// Ends what a runtime has left in the container's cgroup: without a pid namespace of its own, or after a failed delete.
async fn end_group(engine: &Arc<Engine>, container: &Container) -> io::Result<()> {
    let Some(group) = engine.group(container) else {
        // One that cannot be read now is no proof that nothing is left.
        let note = engine.bundle(container).cgroup_note();
        return match GroupPath::read(&note, &container.id.to_string()) {
            Err(error @ NoteError::Read { .. }) => Err(io::Error::other(chain(&error))),
            Err(NoteError::Foreign { .. }) | Ok(_) => Ok(()),
        };
    };
    let deadline = tokio::time::Instant::now() + KILL_PATIENCE;
    loop {
        let pids = engine.host.cgroups.processes(&group)?;
        if pids.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(io::Error::other(format!("processes {pids:?} do not end")));
        }
        for pid in pids {
            // Opened before it is looked up again: what is still in the cgroup then is what the descriptor is of.
            let Ok(pidfd) = ProcessRef::of(pid).and_then(PidFd::open) else { continue };
            if engine.host.cgroups.processes(&group)?.contains(&pid) {
                let _ = pidfd.send_signal(Signal::KILL.0);
                let gone = sys::watch(pidfd.into())?;
                let _ = tokio::time::timeout_at(deadline, gone.readable()).await;
            }
        }
    }
}

/// Unmounts root file system and shared memory. Blocks.
pub(super) fn unmount(engine: &Engine, container: &Container) -> Vec<String> {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &engine.layout.graph, runtime: &container.card.runtime, id: &id };
    let outcomes = [rootfs::unmount(&dirs), rootfs::unmount_shm(&dirs)];
    outcomes.into_iter().filter_map(Result::err).map(|error| chain(&error)).collect()
}

fn unmount_and_clear(engine: &Engine, container: &Container, clear: bool, owner: &Owner) -> Vec<String> {
    let entity = engine.containers.get(&container.id);
    let _files = entity.as_ref().map(|entity| entity.hold_files());
    // Waited for what was abandoned, and abandoned itself meanwhile: the mounts may be those of a later start.
    if owner.has_left() {
        return vec![];
    }
    let mut troubles = unmount(engine, container);
    if owner.has_left() {
        return troubles;
    }
    failpoint::hit(failpoint::RELEASE_UNMOUNTED);
    // The runtime removes the cgroup; one that died half-way may not have.
    if let Some(group) = engine.left_group(container)
        && let Err(error) = engine.host.cgroups.remove(&group)
    {
        troubles.push(format!("cannot remove the cgroup `{group}`: {error}"));
    }
    if !clear || !troubles.is_empty() || owner.has_left() {
        return troubles;
    }
    let state = engine.state_dir(container);
    if let Err(error) = rootfs::remove_tree(state.path(), Mounts::Detach) {
        troubles.push(format!("cannot remove `{}`: {error}", state.path().display()));
    }
    troubles
}

/// Kills the shims of this directory, with all that they have started, and waits until they are gone: a runtime that one has
/// begun would go on, and reach a later start.
pub async fn end_shim(state: &StateDir) -> io::Result<()> {
    end_shims_but(state, &[]).await
}

/// The same, except for those that were there before.
pub(super) async fn end_shims_but(state: &StateDir, spared: &[ProcessRef]) -> io::Result<()> {
    let (state, spared) = (state.clone(), spared.to_vec());
    let ending = abandon::blocking(move |_| end_shims_now(&state, &spared));
    ending.await.map_err(io::Error::other)?
}

/// The same. Blocks for as long as processes need to end.
pub(super) fn end_shims_now(state: &StateDir, spared: &[ProcessRef]) -> io::Result<()> {
    let living: Vec<_> = living_shims(state)?.into_iter().filter(|shim| !spared.contains(shim)).collect();
    if living.is_empty() || tree::kill(&living, KILL_PATIENCE) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Those whose arguments prove it; a `shim-pid` that is not believed is a warning. Blocks.
pub fn living_shims(state: &StateDir) -> io::Result<Vec<ProcessRef>> {
    let found = shims::living(state)?;
    if let Some(problem) = found.problem {
        tracing::warn!(error = chain(&problem), "the shim is looked for by its arguments");
    }
    Ok(found.living)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn a_shim_ends_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let state = isulad_shim::StateDir::new(dir.path());
        end_shim(&state).await.unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "(sleep 1000 & echo $!); setsid sleep 1001 & echo $!; echo done; wait").unwrap();
        let mut command = Command::new("sh");
        command.arg0(shims::PROGRAM).arg(script).arg(dir.path()).process_group(0).stdout(Stdio::piped());
        let mut shim = command.spawn().unwrap();
        let lines = BufReader::new(shim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let started: Vec<_> =
            lines.take_while(|line| line != "done").map(|pid| ProcessRef::of(pid.parse().unwrap()).unwrap()).collect();
        assert_eq!(started.len(), 2);
        pid_file::write(&state.shim_pid(), ProcessRef::of(shim.id() as i32).unwrap()).unwrap();
        end_shim(&state).await.unwrap();
        shim.wait().unwrap();
        assert!(started.iter().all(|process| !process.alive()));
        // It is gone, and its number says nothing.
        end_shim(&state).await.unwrap();
    }
}
