//! The observation of one container: its files, its processes and its runtime. Changes nothing, except that a start
//! which has not begun is kept from beginning late.

use std::path::Path;
use std::sync::Arc;

use isulad_shim::{ExitRecord, ProcessRef, StateDir, pid_file, shims, state_dir};

use crate::cancel;
use crate::cause::chain;
use crate::clock;
use crate::domain::container::{Container, Observation, Phase, RecordedExit};
use crate::domain::id::{Process, StartId};
use crate::engine::Engine;
use crate::records::{to_process, to_reference};
use crate::shim_process::to_recorded_exit;

pub(super) async fn observe(engine: &Arc<Engine>, container: &Container) -> Observation {
    let state = engine.node.state_dir(container);
    let starting = matches!(container.phase, Phase::Starting(_));
    let recorded = container.phase.run().map(|run| run.process);
    let recorded_shim = container.phase.run().and_then(|run| run.shim);
    let start = match &container.phase {
        Phase::Starting(starting) => Some(starting.start),
        phase => phase.run().map(|run| run.start),
    };
    let record = engine.node.bundle(container).exit_record();
    let looking = cancel::blocking({
        let (engine, container, state) = (engine.clone(), container.clone(), state.clone());
        move |_| {
            let files = read_files(&state, starting, start, (recorded, recorded_shim), &record);
            (files, engine.containers.frozen(&container), state.path().exists())
        }
    });
    let (files, frozen, has_state) = looking.await.unwrap_or_else(|panic| {
        let files = Files { problems: vec![panic.to_string()], ..Files::default() };
        (files, None, true)
    });
    for problem in files.problems {
        engine.node.warn(format!("container {}: {problem}", container.id.short()));
    }
    let paused = matches!(container.phase, Phase::Paused(_));
    let mut seen = Observation {
        boot: engine.node.boot,
        at: clock::now(),
        shim: files.shim,
        process: files.process,
        exit: files.exit,
        // Where it cannot be observed, the recorded state counts.
        frozen: frozen.unwrap_or(paused),
    };
    // The runtime is asked only where the files leave the state open.
    let in_doubt = starting && seen.shim.is_none() && seen.process.is_none() && has_state;
    let perhaps_frozen = frozen.is_none() && seen.process.is_some() && !starting;
    if in_doubt || (perhaps_frozen && !matches!(container.phase, Phase::Running(_))) {
        ask_runtime(engine, container, &mut seen).await;
    }
    seen
}

/// The container's files, each read by itself: a damaged one does not keep the others from being used.
#[derive(Debug, Default, PartialEq)]
struct Files {
    shim: Option<Process>,
    process: Option<Process>,
    exit: Option<RecordedExit>,
    problems: Vec<String>,
}

fn read_files(
    state: &StateDir,
    starting: bool,
    start: Option<StartId>,
    (recorded, recorded_shim): (Option<Process>, Option<Process>),
    record: &Path,
) -> Files {
    if starting {
        // The description is removed before `shim-pid` is read: a shim that is starting either finds no description, or
        // is seen below.
        if !state.shim_pid().exists() {
            let _ = state.remove(state_dir::PROCESS);
        }
    }
    let mut problems = Vec::new();
    let shim = living_shim(state, recorded_shim, &mut problems);
    let process = match recorded {
        Some(process) => Some(process).filter(|process| to_reference(*process).alive()),
        None if starting => {
            let read = pid_file::read(&state.pid()).unwrap_or_else(|error| {
                problems.push(chain(&error));
                None
            });
            read.filter(ProcessRef::alive).map(to_process)
        }
        None => None,
    };
    // The exit record is read last: a shim that ends between these reads has written it before. A shim that met a full
    // disk has put it in the second place, also where an older or a damaged one is in the first.
    let mut exits = Vec::new();
    for path in [record, &state.exit_fallback()] {
        match ExitRecord::read(path) {
            Ok(found) => exits.extend(found.map(to_recorded_exit)),
            Err(error) => problems.push(chain(&error)),
        }
    }
    let exit = exits.iter().position(|found| start == Some(found.start)).unwrap_or(0);
    let mut exit = (exit < exits.len()).then(|| exits.swap_remove(exit));
    // Checked again: the process may have ended since.
    if exit.as_ref().is_some_and(|found| start == Some(found.start))
        && process.is_some_and(|process| to_reference(process).alive())
    {
        problems.push(format!("`{}` has the end of a process that runs; it is not believed", record.display()));
        exit = None;
    }
    Files { shim, process, exit, problems }
}

/// The shim that the file names, if its own arguments prove that it is this container's; where the directory was
/// cleared or the file is damaged or foreign, the recorded shim, or, failing that, one that was started for this
/// directory.
fn living_shim(state: &StateDir, recorded: Option<Process>, problems: &mut Vec<String>) -> Option<Process> {
    let named = shims::named(state);
    if let Ok(Some(shim)) = &named {
        return Some(to_process(*shim));
    }
    let recorded = recorded.filter(|shim| to_reference(*shim).alive());
    let Err(error) = named else { return recorded };
    problems.push(chain(&error));
    let started = || shims::living(state).ok()?.living.first().copied().map(to_process);
    recorded.or_else(started)
}

async fn ask_runtime(engine: &Engine, container: &Container, seen: &mut Observation) {
    let Some(instance) = engine.node.instance(container) else { return };
    let Ok(runtime) = engine.node.runtime(&container.card.runtime) else { return };
    match runtime.state(&instance).await {
        Ok(Some(found)) => {
            seen.frozen = found.status == "paused";
            if seen.process.is_none() && matches!(found.status.as_str(), "running" | "paused") {
                seen.process = ProcessRef::of(found.pid).ok().filter(ProcessRef::alive).map(to_process);
            }
        }
        Ok(None) => {}
        Err(error) => engine.node.warn(format!("container {}: {}", container.id.short(), chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use isulad_shim::ExitStatus;
    use isulad_shim::exit::Cause;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        state: StateDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::new(dir.path().join("state"));
            fs::create_dir(state.path()).unwrap();
            Self { dir, state }
        }

        fn record(&self) -> std::path::PathBuf {
            self.dir.path().join("exit")
        }

        fn recorded() -> Option<Process> {
            ProcessRef::current().map(to_process).ok()
        }

        /// Reads the files of a container that runs as this process, in its fifth start.
        fn read(&self) -> Files {
            let me = Self::recorded();
            read_files(&self.state, false, Some(StartId(5)), (me, me), &self.record())
        }

        /// Reads the files of a container without its process.
        fn read_gone(&self) -> Files {
            let gone = Some(to_process(ProcessRef { pid: 1, start_time: u64::MAX }));
            read_files(&self.state, false, Some(StartId(5)), (gone, gone), &self.record())
        }
    }

    /// A process with the arguments of a shim of the directory, which ends with the test.
    struct Shim(Child);

    impl Shim {
        fn of(state: &StateDir) -> Self {
            let script = state.file("script");
            fs::write(&script, "read line\n").unwrap();
            let mut command = Command::new("sh");
            command.arg0(shims::PROGRAM).arg(script).arg(state.path()).stdin(Stdio::piped());
            Self(command.spawn().unwrap())
        }

        fn process(&self) -> ProcessRef {
            ProcessRef::of(self.0.id().cast_signed()).unwrap()
        }
    }

    impl Drop for Shim {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn ended(start: u64, code: u8) -> ExitRecord {
        ExitRecord { start, status: ExitStatus::Code(code), at: 1, oom: false, pid: 1, cause: Cause::Exited }
    }

    /// Cut at every byte, zeroed from every byte, and noise.
    fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
        let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
        let zeroed = (0..whole.len()).map(|end| [&whole[..end], &vec![0; whole.len() - end]].concat());
        cut.chain(zeroed).chain([vec![0xff; whole.len()]]).collect()
    }

    #[test]
    fn a_damaged_file_does_not_spoil_the_others() {
        let place = Place::new();
        let shim = Shim::of(&place.state);
        pid_file::write(&place.state.shim_pid(), shim.process()).unwrap();
        ended(5, 7).write(&place.record()).unwrap();
        let whole = place.read_gone();
        assert!(whole.shim == Some(to_process(shim.process())) && whole.problems.is_empty());
        assert_eq!(whole.exit.as_ref().unwrap().start, StartId(5));
        let (pid, exit) = (fs::read(place.state.shim_pid()).unwrap(), fs::read(place.record()).unwrap());
        for bytes in damaged(&pid) {
            fs::write(place.state.shim_pid(), bytes).unwrap();
            let read = place.read_gone();
            assert_eq!((read.shim, &read.exit), (whole.shim, &whole.exit), "its arguments prove the shim");
            let read = place.read();
            assert_eq!((read.shim, read.process), (Place::recorded(), Place::recorded()), "what was recorded lives");
            assert!(read.problems[0].contains("shim-pid"), "{:?}", read.problems);
        }
        fs::write(place.state.shim_pid(), &pid).unwrap();
        // The last byte ends the line, which JSON does not need.
        for bytes in damaged(&exit).into_iter().filter(|bytes| !bytes.ends_with(b"}") && *bytes != exit) {
            fs::write(place.record(), &bytes).unwrap();
            let read = place.read();
            assert!(read.shim.is_some() && read.process.is_some() && read.exit.is_none(), "{bytes:?}");
            assert!(read.problems[0].contains("exit record"), "{:?}", read.problems);
        }
    }

    #[test]
    fn a_foreign_shim_pid_counts_as_a_lost_shim() {
        let (place, other) = (Place::new(), Place::new());
        let foreign = Shim::of(&other.state);
        // A process that is no shim, and another container's shim.
        for process in [ProcessRef::current().unwrap(), foreign.process()] {
            pid_file::write(&place.state.shim_pid(), process).unwrap();
            let read = place.read_gone();
            assert_eq!(read.shim, None);
            assert!(read.problems[0].contains("which is not the one it should"), "{:?}", read.problems);
            assert_eq!(place.read().shim, Place::recorded(), "the recorded shim lives");
        }
        let own = Shim::of(&place.state);
        assert_eq!(place.read_gone().shim, Some(to_process(own.process())));
    }

    #[test]
    fn the_exit_of_this_start_is_found_in_both_places() {
        let place = Place::new();
        ended(5, 7).write(&place.state.exit_fallback()).unwrap();
        let status = |place: &Place| place.read_gone().exit.unwrap().status;
        let expected = status(&place);
        ended(4, 1).write(&place.record()).unwrap();
        assert_eq!(status(&place), expected, "an older one lies in the first place");
        fs::write(place.record(), "").unwrap();
        assert_eq!(status(&place), expected, "a damaged one lies in the first place");
    }

    #[test]
    fn the_end_of_a_process_that_runs_is_not_believed() {
        let place = Place::new();
        ended(5, 7).write(&place.record()).unwrap();
        let read = place.read();
        assert!(read.process.is_some() && read.exit.is_none() && read.problems[0].contains("not believed"));
        // The record of an earlier start is ignored without a warning.
        ended(4, 7).write(&place.record()).unwrap();
        assert!(place.read().problems.is_empty());
    }
}
