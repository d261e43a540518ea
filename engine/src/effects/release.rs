//! Releases the resources of a run: the runtime's records, mounts, cgroup, state directory. Each step may be repeated,
//! and a failed step does not keep the others from happening.

use std::io;
use std::path::Path;
use std::sync::Arc;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{ProcessRef, StateDir, pid_file};

use super::deadlines::{SHIM_PATIENCE, UNMOUNT_PATIENCE};
use super::network;
use crate::cancel::{self, CancelToken};
use crate::cause::chain;
use crate::domain::container::Container;
use crate::domain::id::{ContainerId, Signal};
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::node::Node;
use crate::rootfs::{self, ContainerDirs, Mounts};
use crate::runtime::instance;
use crate::shim_process::{KILL_PATIENCE, end_shim};
use crate::spec::{GroupPath, NoteError};
use crate::sys;

/// Releases a container after an exit, or one that does not run. A failure is a warning; the next start, removal or
/// restart of the daemon tries again.
pub(crate) async fn release(effects: &Arc<ContainerEffects>, id: ContainerId) {
    let Some(entity) = effects.containers.get(&id) else { return };
    if !effects.supervisor.shim_left(&id, SHIM_PATIENCE).await {
        effects.node.warn(format!("container {}: its shim did not leave and is ended", id.short()));
    }
    if let Err(problem) = give_back(effects, &entity.state).await {
        effects.node.warn(format!("container {}: {problem}", id.short()));
    }
    failpoint::hit(failpoint::RELEASE_DONE);
}

/// Undoes a start that failed or was interrupted: its shim is ended and everything that it made is removed. A failure
/// is a warning.
pub(crate) async fn undo_start(effects: &Arc<ContainerEffects>, container: &Container) {
    if let Err(problem) = give_back(effects, container).await {
        effects.node.warn(format!("container {}: the undone start left something: {problem}", container.id.short()));
    }
}

/// Ends the shim, deletes at the runtime, unmounts, and removes the state directory. The error lists all failures; the
/// state directory is kept then, since the next attempt needs it.
pub(super) async fn give_back(effects: &Arc<ContainerEffects>, container: &Container) -> Result<(), String> {
    let mut problems = Vec::new();
    let state = effects.node.state_dir(container);
    if tokio::fs::try_exists(state.path()).await.unwrap_or(true) {
        // In this order: a shim that was only just started finds nothing to run and leaves, or is seen here.
        let _ = state.remove(isulad_shim::state_dir::PROCESS);
        if let Err(error) = end_shim(&state).await {
            problems.push(format!("cannot end its shim: {error}"));
        }
    }
    let undeleted = delete_instances(&effects.node, &container.card.runtime, &container.id).await;
    if let Err(error) = end_group(effects, container).await {
        problems.push(format!("cannot empty its cgroup: {error}"));
    }
    // After a failed delete, of a damaged record for example: when no process is left that the runtime could end, its
    // record is removed without it.
    if !undeleted.is_empty() && nothing_lives(effects, container, &state) {
        effects.node.warn(format!(
            "container {}: {}; its record is removed",
            container.id.short(),
            undeleted.join("; ")
        ));
        problems.extend(remove_instances(&effects.node, container).await);
    } else {
        problems.extend(undeleted);
    }
    // The processes of execs ended with the container: only their exits are still to be recorded.
    if !effects.execs.end_all(container).await {
        problems.push("processes that were run in it do not end".to_owned());
    }
    // After the last process that uses the namespace, and before its removal: some plugins find by it the resources to
    // release.
    problems.extend(network::give_back(effects, container).await);
    let blocking = {
        let (effects, container, clear) = (effects.clone(), container.clone(), problems.is_empty());
        cancel::blocking(move |cancel| unmount_and_clear(&effects, &container, clear, cancel))
    };
    match tokio::time::timeout(UNMOUNT_PATIENCE, blocking).await {
        Ok(Ok(more)) => problems.extend(more),
        Ok(Err(panic)) => problems.push(panic.to_string()),
        Err(_) => problems.push(format!("its mounts are not gone after {} s", UNMOUNT_PATIENCE.as_secs())),
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// Deletes the runtime's records of all starts of the container, none of which runs; returns the failures.
pub(crate) async fn delete_instances(node: &Node, runtime: &str, id: &ContainerId) -> Vec<String> {
    let (root, of) = (node.layout.runtime_root(runtime), *id);
    let looking = tokio::task::spawn_blocking(move || {
        let left = instance::left_of(&root, &of).map_err(|error| unreadable(&root, &error))?;
        let problems: Vec<_> = left.iter().filter_map(|instance| instance.unmount().err()).collect();
        Ok((left, problems))
    });
    let (left, mut problems) = match looking.await {
        Ok(Ok(found)) => found,
        Ok(Err(problem)) => return vec![problem],
        Err(panic) => return vec![panic.to_string()],
    };
    for instance in left {
        let deleted = match node.runtime(runtime) {
            Ok(runtime) => runtime.delete_by_force(&instance).await,
            Err(error) => Err(error),
        };
        problems.extend(deleted.err().map(|error| chain(&error)));
    }
    problems
}

fn unreadable(root: &Path, error: &io::Error) -> String {
    format!("cannot read the runtime's records in `{}`: {error}", root.display())
}

/// Whether neither the container's cgroup nor its first process lives, as far as both are known.
fn nothing_lives(effects: &ContainerEffects, container: &Container, state: &StateDir) -> bool {
    let group = effects.containers.group(container);
    let empty =
        group.is_some_and(|group| effects.node.host.cgroups.processes(&group).is_ok_and(|pids| pids.is_empty()));
    empty && pid_file::read(&state.pid()).is_ok_and(|process| process.is_none_or(|process| !process.alive()))
}

/// Removes the runtime's files of the container; returns the failures.
async fn remove_instances(node: &Node, container: &Container) -> Vec<String> {
    let (root, id) = (node.layout.runtime_root(&container.card.runtime), container.id);
    let removing = cancel::blocking(move |_| {
        let left = match instance::left_of(&root, &id) {
            Ok(left) => left.into_iter().map(|instance| instance.directory()),
            Err(error) => return vec![unreadable(&root, &error)],
        };
        let removed = left.map(|dir| (rootfs::remove_tree(&dir, Mounts::Detach), dir));
        let problems =
            removed.filter_map(|(removed, dir)| Some(format!("cannot remove `{}`: {}", dir.display(), removed.err()?)));
        problems.collect()
    });
    removing.await.unwrap_or_else(|panic| vec![panic.to_string()])
}

/// Kills processes that a runtime has left in the container's cgroup: without a pid namespace of its own, or after a
/// failed delete.
async fn end_group(effects: &Arc<ContainerEffects>, container: &Container) -> io::Result<()> {
    let Some(group) = effects.containers.group(container) else {
        // An unreadable note is no proof that no process is left.
        let note = effects.node.bundle(container).cgroup_note();
        return match GroupPath::read(&note, &container.id.to_string()) {
            Err(error @ NoteError::Read { .. }) => Err(io::Error::other(chain(&error))),
            Err(NoteError::Foreign { .. }) | Ok(_) => Ok(()),
        };
    };
    let deadline = tokio::time::Instant::now() + KILL_PATIENCE;
    loop {
        let pids = effects.node.host.cgroups.processes(&group)?;
        if pids.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(io::Error::other(format!("processes {pids:?} do not end")));
        }
        for pid in pids {
            // Opened before the second look: a pid that is still in the cgroup then is that of the descriptor's
            // process.
            let Ok(pidfd) = ProcessRef::of(pid).and_then(PidFd::open) else { continue };
            if effects.node.host.cgroups.processes(&group)?.contains(&pid) {
                let _ = pidfd.send_signal(Signal::KILL.0);
                let gone = sys::watch(pidfd.into())?;
                let _ = tokio::time::timeout_at(deadline, gone.readable()).await;
            }
        }
    }
}

/// Unmounts root file system and shared memory. Blocks.
pub(super) fn unmount(node: &Node, container: &Container) -> Vec<String> {
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &node.layout.graph, runtime: &container.card.runtime, id: &id };
    let outcomes = [rootfs::unmount(&dirs), rootfs::unmount_shm(&dirs)];
    outcomes.into_iter().filter_map(Result::err).map(|error| chain(&error)).collect()
}

fn unmount_and_clear(
    effects: &ContainerEffects,
    container: &Container,
    clear: bool,
    cancel: &CancelToken,
) -> Vec<String> {
    let entity = effects.containers.get(&container.id);
    let _files = entity.as_ref().map(|entity| entity.hold_files());
    // This call has waited for the files, and its caller may have given up meanwhile: the mounts may be those of a
    // later start.
    if cancel.is_cancelled() {
        return vec![];
    }
    let mut problems = unmount(&effects.node, container);
    if cancel.is_cancelled() {
        return problems;
    }
    failpoint::hit(failpoint::RELEASE_UNMOUNTED);
    // The runtime removes the cgroup; one that died before has not.
    if let Some(group) = effects.containers.left_group(container)
        && let Err(error) = effects.node.host.cgroups.remove(&group)
    {
        problems.push(format!("cannot remove the cgroup `{group}`: {error}"));
    }
    if !clear || !problems.is_empty() || cancel.is_cancelled() {
        return problems;
    }
    let state = effects.node.state_dir(container);
    if let Err(error) = rootfs::remove_tree(state.path(), Mounts::Detach) {
        problems.push(format!("cannot remove `{}`: {error}", state.path().display()));
    }
    problems
}
