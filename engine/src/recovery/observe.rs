//! What the world shows of one container. Changes nothing, except that a start which has not begun is kept from
//! beginning late.

use std::sync::Arc;

use isulad_shim::{ExitRecord, ProcessRef, StateDir, pid_file, state_dir};

use crate::clock;
use crate::domain::container::{Container, Found, Observation, Phase};
use crate::domain::id::Process;
use crate::effects::{to_process, to_reference};
use crate::engine::Engine;
use crate::supervisor::to_found;

pub(super) async fn observe(engine: &Arc<Engine>, container: &Container) -> Observation {
    let state = engine.state_dir(container);
    let starting = matches!(container.phase, Phase::Starting(_));
    let recorded = container.phase.run().map(|run| run.process);
    let recorded_shim = container.phase.run().and_then(|run| run.shim);
    let record = engine.bundle(container).exit_record();
    let files = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || read_files(&state, starting, recorded, recorded_shim, &record))
    };
    let files = match files.await {
        Ok(Ok(files)) => files,
        Ok(Err(problem)) => {
            engine.warn(format!("container {}: {problem}", container.id.short()));
            Files::default()
        }
        Err(_) => Files::default(),
    };
    let paused = matches!(container.phase, Phase::Paused(_));
    let told_frozen = engine.frozen(container);
    let mut seen = Observation {
        boot: engine.boot,
        at: clock::now(),
        shim: files.shim,
        process: files.process,
        exit: files.exit,
        // Where nobody can tell, it is as it was recorded.
        frozen: told_frozen.unwrap_or(paused),
    };
    // The runtime is asked only where the files leave something open.
    let in_doubt = starting && seen.shim.is_none() && seen.process.is_none() && state.path().exists();
    let perhaps_frozen = told_frozen.is_none() && seen.process.is_some() && !starting;
    if in_doubt || (perhaps_frozen && !matches!(container.phase, Phase::Running(_))) {
        ask_runtime(engine, container, &mut seen).await;
    }
    seen
}

#[derive(Debug, Default)]
struct Files {
    shim: Option<Process>,
    process: Option<Process>,
    exit: Option<Found>,
}

fn read_files(
    state: &StateDir,
    starting: bool,
    recorded: Option<Process>,
    recorded_shim: Option<Process>,
    record: &std::path::Path,
) -> Result<Files, String> {
    if starting {
        // First this, then `shim-pid`: a shim on its way either finds nothing to run, or is seen below.
        if !state.shim_pid().exists() {
            let _ = state.remove(state_dir::PROCESS);
        }
    }
    let living = |path: &std::path::Path| match pid_file::read(path) {
        Ok(found) => Ok(found.filter(ProcessRef::alive).map(to_process)),
        Err(error) => Err(error.to_string()),
    };
    // The file, or, where somebody has cleared the directory, what was recorded.
    let shim = living(&state.shim_pid())?.or(recorded_shim.filter(|shim| to_reference(*shim).alive()));
    let alive =
        |process: &Process| ProcessRef { pid: process.pid.cast_signed(), start_time: process.start_time }.alive();
    let process = match recorded {
        Some(process) => Some(process).filter(alive),
        None if starting => living(&state.pid())?,
        None => None,
    };
    // Last: a shim that ends between these looks has written it before it ended.
    let exit = match ExitRecord::read(record).map_err(|error| error.to_string())? {
        // A shim that met a full disk puts it here.
        None => ExitRecord::read(&state.exit_fallback()).map_err(|error| error.to_string())?,
        found => found,
    };
    let exit = exit.map(to_found);
    Ok(Files { shim, process, exit })
}

async fn ask_runtime(engine: &Engine, container: &Container, seen: &mut Observation) {
    let Some(instance) = engine.instance(container) else { return };
    let Ok(runtime) = engine.runtime(&container.card.runtime) else { return };
    match runtime.state(&instance).await {
        Ok(Some(found)) => {
            seen.frozen = found.status == "paused";
            if seen.process.is_none() && matches!(found.status.as_str(), "running" | "paused") {
                seen.process = ProcessRef::of(found.pid).ok().filter(ProcessRef::alive).map(to_process);
            }
        }
        Ok(None) => {}
        Err(error) => engine.warn(format!("container {}: {}", container.id.short(), crate::cause::chain(&error))),
    }
}
