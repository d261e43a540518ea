//! Starting a container: root filesystem, spec, shim. One blocking preparation, one process spawn, one answer awaited
//! on a pipe. Whatever fails is undone before the failure is reported.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::process::ConsoleSize;
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::spawn::{self, Mode};
use isulad_shim::{Failed, Outcome, ProcessRef, Ready, StateDir, pid_file};
use tokio::io::AsyncReadExt;

use super::network::{self, Attached};
use super::release::{give_back, undo_start};
use super::volumes::{self, FillError};
use crate::abandon::{self, Owner};
use crate::cause::chain;
use crate::clock;
use crate::definition::DefinitionError;
use crate::domain::container::{Command, Phase};
use crate::domain::id::{ContainerId, Process, StartId, Timestamp};
use crate::engine::{Engine, FirstClient};
use crate::failpoint;
use crate::journal::record::Context;
use crate::network::NetworkError;
use crate::projection::Entity;
use crate::rootfs::{BeneathError, RootfsError};
use crate::runtime::RuntimeError;
use crate::session::Size;
use crate::shim_process;
use crate::spec::SpecError;
use crate::spec::files::FilesError;
use crate::sys;

/// Longest one execution of the runtime may take at a start.
pub const RUNTIME_DEADLINE: Duration = Duration::from_secs(120);
/// Mounts and files: what takes longer hangs.
/// Copies of a container's files may go on for so long before a start ends them.
const COPY_PATIENCE: Duration = Duration::from_secs(10);
const BEGIN_DEADLINE: Duration = Duration::from_secs(60);
/// Copying what an image has into new volumes.
const FILL_DEADLINE: Duration = Duration::from_secs(240);
/// The shim answers within the runtime's deadlines (the run, and the undoing of a failed one) and a little for itself.
const ANSWER_DEADLINE: Duration = Duration::from_secs(260);

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("cannot make the working directory `{path}` of the container")]
    Workdir { path: String, source: BeneathError },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error("the container's volumes were not filled from its image within {} s; mount them with `nocopy` to begin with empty ones", FILL_DEADLINE.as_secs())]
    SlowFill,
    #[error("container {id}, whose {what} namespace is to be joined, is not running")]
    NotJoinable { id: ContainerId, what: &'static str },
    #[error("cannot find the shim `{path}`; install it beside isulad or set `shim` in daemon.json")]
    ShimMissing { path: std::path::PathBuf },
    #[error("cannot {what} for the container")]
    State { what: &'static str, source: io::Error },
    #[error("cannot describe the process to the shim")]
    Describe(#[source] isulad_shim::process::ProcessError),
    #[error("cannot start the shim `{path}`")]
    Spawn { path: std::path::PathBuf, source: io::Error },
    #[error("the shim did not answer within {} s", ANSWER_DEADLINE.as_secs())]
    NoAnswer,
    #[error("the shim ended without an answer; see `{log}`")]
    ShimDied { log: std::path::PathBuf },
    #[error("the preparation of the start did not finish within {} s: a file system or mount does not answer", BEGIN_DEADLINE.as_secs())]
    Slow,
    #[error("a copy of the container's files is under way and does not end")]
    Copies,
    #[error("something is left of the last run: {problem}")]
    Leftover { problem: String },
    /// The runtime ran and said so.
    #[error("{message}")]
    Refused { message: String },
    /// The shim said so: the runtime did not run, or not to its end.
    #[error("{message}")]
    NotRun { message: String },
}

pub(super) async fn launch(engine: &Arc<Engine>, id: ContainerId, start: StartId, context: &Context) {
    failpoint::hit(failpoint::START_AFTER_INTENT);
    let client = engine.take_first_client(&id, context.operation);
    let Some(entity) = engine.containers.get(&id).filter(|entity| is_starting(entity, start)) else { return };
    // Held until the start has an outcome.
    let alone = entity.still().alone(COPY_PATIENCE, "started").await;
    let attempted = match &alone {
        Some(_) => attempt(engine, &entity, start, client, context).await,
        None => Err(LaunchError::Copies),
    };
    match attempted {
        Ok((ready, fifo)) => {
            failpoint::hit(failpoint::START_READY);
            report_started(engine, id, start, ready, fifo, context).await;
            failpoint::hit(failpoint::START_DONE);
        }
        Err(error) => {
            undo_start(engine, &entity.container).await;
            failpoint::hit(failpoint::START_UNDONE);
            report_failed(engine, id, start, &error, context).await;
        }
    }
}

/// An effect may run twice: the second time its start has an outcome.
fn is_starting(entity: &Entity, start: StartId) -> bool {
    matches!(&entity.container.phase, Phase::Starting(starting) if starting.start == start)
}

/// A start that a daemon before us began and whose shim is at work: its answer, from the attach socket.
pub async fn await_launch(engine: &Arc<Engine>, id: ContainerId, start: StartId, context: &Context) {
    let Some(entity) = engine.containers.get(&id).filter(|entity| is_starting(entity, start)) else { return };
    let container = &entity.container;
    let state = engine.state_dir(container);
    let asked = async {
        let fifo =
            state.open_exit_fifo().map_err(|source| LaunchError::State { what: "open the exit fifo", source })?;
        let answer = tokio::time::timeout(ANSWER_DEADLINE, ask_while_it_lives(&state)).await;
        let outcome = answer
            .map_err(|_| LaunchError::NoAnswer)?
            .map_err(|_| LaunchError::ShimDied { log: state.file(isulad_shim::state_dir::SHIM_LOG) })?;
        Ok((accept(outcome)?, fifo))
    };
    match asked.await {
        Ok((ready, fifo)) => report_started(engine, id, start, ready, fifo, context).await,
        // The run has come and gone while we asked.
        Err(error) => match engine.exit_record(container, start).await {
            Some(found) => {
                let started = Command::ReportStarted { start, process: found.process, shim: None, at: found.at };
                engine.report(id, context, started).await;
                engine.report_exit(id, context, &found).await;
            }
            None => {
                undo_start(engine, container).await;
                report_failed(engine, id, start, &error, context).await;
            }
        },
    }
}

/// A shim that has only just begun does not listen yet.
async fn ask_while_it_lives(state: &StateDir) -> io::Result<Outcome> {
    loop {
        let error = match shim_process::ask_status(state).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let lives = pid_file::read(&state.shim_pid()).ok().flatten().is_some_and(|shim| shim.alive());
        if !lives || !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report_started(
    engine: &Arc<Engine>,
    id: ContainerId,
    start: StartId,
    ready: Ready,
    fifo: OwnedFd,
    context: &Context,
) {
    let process = to_process(ready.process());
    // Opened before the event: from here on the exit status cannot be lost, whatever becomes of the shim.
    let pidfd = PidFd::open(ready.process()).ok();
    let started =
        Command::ReportStarted { start, process, shim: Some(to_process(ready.shim())), at: Timestamp(ready.at) };
    engine.report(id, context, started).await;
    engine.supervise(id, start, fifo, pidfd);
}

async fn report_failed(engine: &Arc<Engine>, id: ContainerId, start: StartId, error: &LaunchError, context: &Context) {
    let (code, message) = failure_of(error);
    let failed = Command::ReportStartFailed { start, code, message, at: clock::now() };
    engine.report(id, context, failed).await;
}

async fn attempt(
    engine: &Arc<Engine>,
    entity: &Arc<Entity>,
    start: StartId,
    client: Option<FirstClient>,
    context: &Context,
) -> Result<(Ready, OwnedFd), LaunchError> {
    let container = &entity.container;
    // What an earlier release could not give back would be in the way, and its only trace must not be wiped.
    if engine.state_dir(container).path().exists() || engine.bundle(container).network().record.exists() {
        give_back(engine, container).await.map_err(|problem| LaunchError::Leftover { problem })?;
    }
    fill_volumes(engine, entity).await?;
    let attached = network::attach(engine, entity, start, context).await?;
    let begun = {
        let (engine, entity) = (engine.clone(), entity.clone());
        abandon::blocking(move |owner| begin(&engine, &entity, start, attached.as_ref(), client, owner))
    };
    let begun = tokio::time::timeout(BEGIN_DEADLINE, begun).await.map_err(|_| LaunchError::Slow)?;
    let Begun { state, fifo, answer, middle, joined } = begun.unwrap_or_else(|panic| {
        Err(LaunchError::State { what: "prepare the start", source: io::Error::other(panic) })
    })?;
    tokio::spawn(reap(middle));
    let outcome = read_outcome(answer, &state).await?;
    let ready = accept(outcome)?;
    // A process that lives still has lived all the time: what was joined by its pid was its own.
    match joined.iter().find(|(_, process)| !process.alive()) {
        Some((id, _)) => Err(LaunchError::NotJoinable { id: *id, what: "joined" }),
        None => Ok((ready, fifo)),
    }
}

/// Before anything else of a first start, with a deadline of its own: the only step whose length is up to the user.
async fn fill_volumes(engine: &Arc<Engine>, entity: &Arc<Entity>) -> Result<(), LaunchError> {
    if entity.definition().is_some_and(|definition| definition.mounts.iter().all(|mount| !mount.copy)) {
        return Ok(());
    }
    let (engine, entity) = (engine.clone(), entity.clone());
    let filling = abandon::blocking(move |owner| {
        let _files = entity.hold_files();
        let definition = engine.definition(&entity)?;
        let container = &entity.container;
        if !volumes::are_to_be_filled(&engine, container, &definition) {
            return Ok(());
        }
        still_wanted(owner)?;
        let rootfs = super::prepare::mount_root(&engine, container, &definition)?;
        let filled = volumes::fill(&engine, container, &definition, &rootfs, &|| owner.has_left());
        if owner.has_left() {
            super::release::unmount(&engine, container);
        }
        Ok(filled?)
    });
    let filled = tokio::time::timeout(FILL_DEADLINE, filling).await.map_err(|_| LaunchError::SlowFill)?;
    filled.unwrap_or_else(|panic| Err(LaunchError::State { what: "fill volumes", source: io::Error::other(panic) }))
}

/// A shim at work.
struct Begun {
    state: StateDir,
    fifo: OwnedFd,
    answer: OwnedFd,
    /// The first of the two forks: ours to reap.
    middle: i32,
    /// Whose namespaces it shares.
    joined: Vec<(ContainerId, ProcessRef)>,
}

/// Everything up to the spawned shim. Blocks.
fn begin(
    engine: &Engine,
    entity: &Entity,
    start: StartId,
    attached: Option<&Attached>,
    client: Option<FirstClient>,
    owner: &Owner,
) -> Result<Begun, LaunchError> {
    let _files = entity.hold_files();
    let container = &entity.container;
    let definition = engine.definition(entity)?;
    let runtime = engine.runtime(&container.card.runtime)?;
    let shim = engine.shim().ok_or_else(|| LaunchError::ShimMissing { path: engine.config.shim.clone() })?;
    let state = engine.state_dir(container);
    still_wanted(owner)?;
    fresh_state_dir(&state)?;
    let fifo = state.open_exit_fifo().map_err(|source| LaunchError::State { what: "make the exit fifo", source })?;
    let bundle = engine.bundle(container);
    match std::fs::remove_file(bundle.exit_record()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(LaunchError::State { what: "remove the last exit record", source });
        }
        _ => {}
    }
    let size = client.as_ref().and_then(|client| client.size);
    let spec = super::prepare::mount_and_specify(engine, container, &definition, attached, size)?;
    if owner.has_left() {
        super::release::unmount(engine, container);
        return Err(LaunchError::Slow);
    }
    failpoint::hit(failpoint::START_SPEC_WRITTEN);
    let mut process = shim_process::describe(engine, container, &definition, &runtime, &spec, start);
    process.first_client = client.is_some();
    process.console_size = size.map(|Size { width, height }| ConsoleSize { width, height });
    process.write(&state.process()).map_err(LaunchError::Describe)?;
    let (answer, ready) = io::pipe().map_err(|source| LaunchError::State { what: "make a pipe", source })?;
    let client = client.as_ref().map(|client| client.socket.as_fd());
    let middle = spawn::start(&shim, Mode::Run, &state, ready.as_fd(), client)
        .map_err(|source| LaunchError::Spawn { path: shim, source })?;
    failpoint::hit(failpoint::START_SHIM_SPAWNED);
    if owner.has_left() {
        end_at_once(&state, middle);
        return Err(LaunchError::Slow);
    }
    Ok(Begun { state, fifo, answer: answer.into(), middle, joined: spec.joined })
}

fn still_wanted(owner: &Owner) -> Result<(), LaunchError> {
    if owner.has_left() { Err(LaunchError::Slow) } else { Ok(()) }
}

/// A shim that nobody waits for any more. Blocks for as long as a process needs to fork.
fn end_at_once(state: &StateDir, middle: i32) {
    let _ = state.remove(isulad_shim::state_dir::PROCESS);
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(middle), None);
    if let Ok(Some(shim)) = pid_file::read(&state.shim_pid()) {
        let _ = PidFd::open(shim).and_then(|pidfd| pidfd.send_signal(9));
    }
}

/// An empty state directory: what an earlier run left in it means nothing now.
fn fresh_state_dir(state: &StateDir) -> Result<(), LaunchError> {
    let failed = |source| LaunchError::State { what: "make the state directory", source };
    match std::fs::remove_dir_all(state.path()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(source)),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(state.path()).map_err(failed)
}

/// The shim's answer.
pub(super) async fn read_outcome(answer: OwnedFd, state: &StateDir) -> Result<Outcome, LaunchError> {
    let died = || LaunchError::ShimDied { log: state.file(isulad_shim::state_dir::SHIM_LOG) };
    let reading = async {
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(answer)?;
        let mut line = Vec::with_capacity(256);
        pipe.read_to_end(&mut line).await?;
        Outcome::from_line(&line)
    };
    tokio::time::timeout(ANSWER_DEADLINE, reading).await.map_err(|_| LaunchError::NoAnswer)?.map_err(|_| died())
}

pub(super) fn accept(outcome: Outcome) -> Result<Ready, LaunchError> {
    match outcome {
        Outcome::Ready(ready) => Ok(ready),
        Outcome::Failed(Failed { message, runtime_status: Some(_), .. }) => Err(LaunchError::Refused { message }),
        Outcome::Failed(Failed { message, runtime_status: None, .. }) => Err(LaunchError::NotRun { message }),
    }
}

/// Waits for the spawned process, which leaves as soon as the shim has a life of its own.
pub async fn reap(middle: i32) {
    let waiting = async {
        let pidfd = sys::watch(PidFd::open(ProcessRef::of(middle)?)?.into())?;
        pidfd.readable().await.map(drop)
    };
    let pid = nix::unistd::Pid::from_raw(middle);
    match waiting.await {
        Ok(()) => drop(nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG))),
        // It cannot be watched: a thread waits for it, which is not for long.
        Err(_) => drop(tokio::task::spawn_blocking(move || nix::sys::wait::waitpid(pid, None)).await),
    }
}

pub fn to_process(process: ProcessRef) -> Process {
    Process { pid: process.pid.unsigned_abs(), start_time: process.start_time }
}

pub fn to_reference(process: Process) -> ProcessRef {
    ProcessRef { pid: process.pid.cast_signed(), start_time: process.start_time }
}

/// The exit code shells expect, and the whole text.
fn failure_of(error: &LaunchError) -> (u8, String) {
    let message = chain(error);
    // Only the runtime's own words about the command itself mean 126 and 127.
    let code = if matches!(error, LaunchError::Refused { .. }) { exit_code_of(&message) } else { 125 };
    (code, message)
}

/// What shells answer for a program that could not be run, by the runtime's own words.
pub fn exit_code_of(message: &str) -> u8 {
    let lower = message.to_ascii_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    // A missing path that is not the program's is the runtime's or the container's trouble.
    let program = says(&["exec: \"", "exec /", "exec container process", "executable file", "open executable"]);
    let missing =
        says(&["executable file not found", "no such file or directory", "not a directory", "executable file `"]);
    if program && missing {
        127
    } else if says(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "open executable: operation not permitted",
    ]) {
        126
    } else {
        125
    }
}

/// The process whose namespace is to be joined, alive now.
pub(super) fn joined_process(
    engine: &Engine,
    other: &str,
    what: &'static str,
) -> Result<(ContainerId, ProcessRef), LaunchError> {
    let id: ContainerId = other.parse().map_err(|_| LaunchError::Refused {
        message: format!("`{other}`, whose {what} namespace is to be joined, is not a container's id"),
    })?;
    let run = engine.containers.get(&id).and_then(|entity| entity.container.phase.run().cloned());
    let process = run.map(|run| to_reference(run.process)).filter(ProcessRef::alive);
    Ok((id, process.ok_or(LaunchError::NotJoinable { id, what })?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runtimes_words_about_the_command_give_126_and_127() {
        for (text, code) in [
            ("exec: \"nope\": executable file not found in $PATH: unknown", 127),
            ("exec /nope: no such file or directory", 127),
            ("executable file `nope` not found in $PATH", 127),
            ("open executable: Permission denied", 126),
            ("open executable: Operation not permitted", 126),
            ("exec: \"/etc\": is a directory: permission denied", 126),
            ("exec: \"/no/such\": stat /no/such: no such file or directory: unknown", 127),
            ("container with id x: open /run/x/state.json: no such file or directory", 125),
            ("unable to apply cgroup configuration", 125),
        ] {
            let error = LaunchError::Refused { message: text.into() };
            assert_eq!(failure_of(&error).0, code, "{text}");
        }
        let not_run = LaunchError::NotRun { message: "cannot run the runtime: Exec format error".into() };
        assert_eq!(failure_of(&not_run).0, 125);
        let missing =
            LaunchError::Runtime(RuntimeError::Missing { name: "x".into(), path: "no such file or directory".into() });
        assert_eq!(failure_of(&missing).0, 125);
    }
}
