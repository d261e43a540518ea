//! All steps of a start up to the spawned shim: state directory, root filesystem, spec. One blocking preparation.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

use isulad_shim::process::ConsoleSize;
use isulad_shim::sys::spawn::{self, Mode};
use isulad_shim::{ProcessRef, StateDir};

use super::LaunchError;
use super::describe::describe;
use crate::cancel::CancelToken;
use crate::domain::id::{ContainerId, StartId};
use crate::effects::network::Attached;
use crate::effects::{ContainerEffects, FirstClient};
use crate::effects::{prepare, release};
use crate::failpoint;
use crate::records::Entity;
use crate::rootfs::{self, Mounts};
use crate::session::Size;
use crate::shim_process::end_shims_now;

/// A spawned shim that has not answered yet.
pub(super) struct SpawnedShim {
    pub state: StateDir,
    pub fifo: OwnedFd,
    pub answer: OwnedFd,
    /// The first of the two forks: a child of the daemon, which reaps it.
    pub middle: i32,
    /// The processes with which the container shares namespaces.
    pub joined: Vec<(ContainerId, ProcessRef)>,
}

/// Runs all steps up to the spawned shim. Blocks. When the caller has given up meanwhile, mounts and shim are undone
/// here.
pub(super) fn begin(
    effects: &ContainerEffects,
    entity: &Entity,
    start: StartId,
    attached: Option<&Attached>,
    client: Option<FirstClient>,
    cancel: &CancelToken,
) -> Result<SpawnedShim, LaunchError> {
    let _files = entity.hold_files();
    let container = &entity.state;
    let definition = effects.containers.definition(entity)?;
    let runtime = effects.node.runtime(&container.card.runtime)?;
    let shim =
        effects.node.shim().ok_or_else(|| LaunchError::ShimMissing { path: effects.node.config.shim.clone() })?;
    let state = effects.node.state_dir(container);
    still_wanted(cancel)?;
    fresh_state_dir(&state)?;
    let fifo = state.open_exit_fifo().map_err(|source| LaunchError::State { what: "make the exit fifo", source })?;
    let bundle = effects.node.bundle(container);
    match std::fs::remove_file(bundle.exit_record()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(LaunchError::State { what: "remove the last exit record", source });
        }
        _ => {}
    }
    let size = client.as_ref().and_then(|client| client.size);
    let spec = prepare::mount_and_specify(effects, container, &definition, attached, size)?;
    if cancel.is_cancelled() {
        release::unmount(&effects.node, container);
        return Err(LaunchError::Slow);
    }
    failpoint::hit(failpoint::START_SPEC_WRITTEN);
    let mut process = describe(&effects.node, container, &definition, &runtime, &spec, start);
    process.first_client = client.is_some();
    process.console_size = size.map(|Size { width, height }| ConsoleSize { width, height });
    process.write(&state.process()).map_err(LaunchError::Describe)?;
    let (answer, ready) = io::pipe().map_err(|source| LaunchError::State { what: "make a pipe", source })?;
    let client = client.as_ref().map(|client| client.socket.as_fd());
    effects.moves.expect();
    let middle = spawn::start(&shim, Mode::Run, &state, ready.as_fd(), client)
        .map_err(|source| LaunchError::Spawn { path: shim, source })?;
    failpoint::hit(failpoint::START_SHIM_SPAWNED);
    if cancel.is_cancelled() {
        end_at_once(&state, middle);
        return Err(LaunchError::Slow);
    }
    Ok(SpawnedShim { state, fifo, answer: answer.into(), middle, joined: spec.joined })
}

pub(super) fn still_wanted(cancel: &CancelToken) -> Result<(), LaunchError> {
    if cancel.is_cancelled() { Err(LaunchError::Slow) } else { Ok(()) }
}

/// Ends a shim after its caller has given up, with all that it has started. Blocks for as long as processes need to
/// end.
fn end_at_once(state: &StateDir, middle: i32) {
    let _ = state.remove(isulad_shim::state_dir::PROCESS);
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(middle), None);
    if let Err(error) = end_shims_now(state, &[]) {
        tracing::warn!("the shim of `{}` cannot be ended: {error}", state.path().display());
    }
}

/// Makes an empty state directory: files of an earlier run are stale.
fn fresh_state_dir(state: &StateDir) -> Result<(), LaunchError> {
    let failed = |source| LaunchError::State { what: "make the state directory", source };
    rootfs::remove_tree(state.path(), Mounts::Detach).map_err(failed)?;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(state.path()).map_err(failed)
}
