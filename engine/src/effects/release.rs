//! Giving back what a run has used: the runtime's records, mounts, cgroup, state directory. Each step may be repeated,
//! and one that fails does not keep the others from happening.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::pid_file;
use isulad_shim::sys::pidfd::PidFd;

use crate::domain::container::Container;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::failpoint;
use crate::rootfs::{self, ContainerDirs};
use crate::sys;

/// The shim runs the runtime's `delete` after an exit; it has this long.
const SHIM_PATIENCE: Duration = Duration::from_secs(60);
/// A killed shim is gone soon after.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// After an exit, or for a container that does not run: nothing of a run is left. Trouble is a warning; the next start,
/// removal or restart of the daemon tries again.
pub async fn release(engine: &Arc<Engine>, id: ContainerId) {
    let Some(entity) = engine.containers.get(&id) else { return };
    if !engine.supervisor.shim_left(&id, SHIM_PATIENCE).await {
        engine.warn(format!("container {}: its shim did not leave and is ended", id.short()));
    }
    if let Err(trouble) = give_back(engine, &entity.container).await {
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

/// Ends the shim, deletes at the runtime, unmounts, and removes the state directory. Answers all that went wrong.
pub(super) async fn give_back(engine: &Arc<Engine>, container: &Container) -> Result<(), String> {
    let mut troubles = Vec::new();
    let state = engine.state_dir(container);
    if state.path().exists() {
        // In this order: a shim that was only just started finds nothing to run and leaves, or is seen here.
        let _ = state.remove(isulad_shim::state_dir::PROCESS);
        if let Err(error) = end_shim(&state).await {
            troubles.push(format!("cannot end its shim: {error}"));
        }
        let id = container.id.to_string();
        match engine.runtime(&container.card.runtime) {
            Ok(runtime) => {
                if let Err(error) = runtime.delete(&state, &id).await {
                    troubles.push(crate::api::chain(&error));
                }
            }
            Err(error) if state.runtime_root().join(&id).exists() => troubles.push(crate::api::chain(&error)),
            Err(_) => {}
        }
    }
    let blocking = {
        let (engine, container) = (engine.clone(), container.clone());
        tokio::task::spawn_blocking(move || unmount_and_clear(&engine, &container))
    };
    match blocking.await {
        Ok(more) => troubles.extend(more),
        Err(panic) => troubles.push(panic.to_string()),
    }
    if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
}

fn unmount_and_clear(engine: &Engine, container: &Container) -> Vec<String> {
    let mut troubles = Vec::new();
    let id = container.id.to_string();
    let dirs = ContainerDirs { graph: &engine.layout.graph, runtime: &container.card.runtime, id: &id };
    for unmounted in [rootfs::unmount(&dirs), rootfs::unmount_shm(&dirs)] {
        if let Err(error) = unmounted {
            troubles.push(crate::api::chain(&error));
        }
    }
    failpoint::hit(failpoint::RELEASE_UNMOUNTED);
    let state = engine.state_dir(container);
    // The runtime removes the cgroup; one that died half-way may not have.
    if let Ok(group) = std::fs::read_to_string(engine.bundle(container).cgroup_note())
        && !engine.config.systemd_cgroup
        && engine.host.cgroups.exists(&group)
        && let Err(error) = engine.host.cgroups.remove(&group)
    {
        troubles.push(format!("cannot remove the cgroup `{group}`: {error}"));
    }
    // Kept while something is left to delete: it says how.
    if !troubles.is_empty() {
        return troubles;
    }
    match std::fs::remove_dir_all(state.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            troubles.push(format!("cannot remove `{}`: {error}", state.path().display()));
        }
        _ => {}
    }
    troubles
}

/// Kills the shim named in `shim-pid`, if it lives, and waits until it is gone.
pub async fn end_shim(state: &isulad_shim::StateDir) -> io::Result<()> {
    let Ok(Some(shim)) = pid_file::read(&state.shim_pid()) else { return Ok(()) };
    let pidfd = match PidFd::open(shim) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match pidfd.send_signal(9) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    let waiting = sys::watch(pidfd.into())?;
    let gone = tokio::time::timeout(KILL_PATIENCE, waiting.readable()).await;
    gone.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop)
}
