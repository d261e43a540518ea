//! From a wish to a running process.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::control::kind;
use isulad_shim::exec::{EXEC_VERSION, SPEC, write_private};
use isulad_shim::process::{ConsoleSize, Runtime};
use isulad_shim::sys::spawn;
use isulad_shim::{ExecProcess, Ready, Request, StateDir};
use tokio::sync::oneshot;

use super::ExecError;
use super::keep::{self, Of};
use crate::abandon::Owner;
use crate::containers::Entity;
use crate::domain::container::{Command, Event, Rejection};
use crate::domain::id::{ContainerId, Process, SessionId, StartId};
use crate::domain::text::cut;
use crate::effects::{RUNTIME_DEADLINE, to_reference};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::ledger::Queue;
use crate::session::{Exit, Input, Output, Session, Size, Told};
use crate::spec::{self, Program};

/// Files and a look into the container's root: what takes longer hangs.
const PREPARE_DEADLINE: Duration = Duration::from_secs(30);
/// What was typed before comes first.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
/// How long an operation under way is waited for.
const PATIENCE: Duration = Duration::from_secs(150);
/// The shim answers within the runtime's deadline and a little for itself.
const ANSWER_DEADLINE: Duration = RUNTIME_DEADLINE.saturating_add(Duration::from_secs(20));

/// What is wanted of the process beyond the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// Its input is the session's; without it, it reads an end of file.
    pub stdin: bool,
    pub size: Option<Size>,
    /// It has no streams, and outlives the session and the daemon.
    pub detached: bool,
}

/// A process that was started, and its session: dropping both halves ends the process, unless it is detached.
pub struct Exec {
    pub exec: SessionId,
    /// On the host.
    pub pid: i32,
    pub input: Input,
    pub output: Output,
}

/// A shim that waits for its `Go`.
pub(super) struct Begun {
    pub(super) exec: SessionId,
    /// The first process of the container that it is for.
    pub(super) of: Process,
    pub(super) session: Session,
    /// Turns ready when its keeper has done everything.
    pub(super) finished: oneshot::Receiver<()>,
}

/// An exec that has a directory and a keeper, and gets a shim.
pub(super) struct Named {
    exec: SessionId,
    /// Of the container that it is for.
    start: StartId,
    /// Whether `ExecStarted` is recorded: what its keeper goes by. Dropped is no.
    recorded: oneshot::Sender<bool>,
}

impl Engine {
    /// Runs a process with a session, recorded in the journal. On its own: a caller that goes away leaves nothing half
    /// done.
    pub async fn exec(
        self: &Arc<Self>,
        id: ContainerId,
        program: Program,
        wish: Wish,
        context: &Context,
    ) -> Result<Exec, ExecError> {
        let (engine, context) = (self.clone(), context.clone());
        let beginning = self.tasks.spawn(async move {
            let command = begin_command(&engine, &program, wish.detached);
            let (engine, context, command) = (&engine, &context, &command);
            let (named, name) = oneshot::channel();
            let preparing = prepare(engine, id, &program, wish, Some(named));
            // While the shim starts: what takes longer of the two is all that is waited for.
            let recording = |Named { exec, start, recorded }| async move {
                failpoint::hit(failpoint::EXEC_BEFORE_RECORD);
                engine.containers.ask(Queue::Beside, &id, context, || vec![command(start, exec)]).await?;
                failpoint::hit(failpoint::EXEC_RECORDED);
                let _ = recorded.send(true);
                Ok::<_, ExecError>(())
            };
            let (begun, asked) = while_preparing(preparing, name, recording).await;
            let Begun { exec, of, session, finished: _ } = begun?;
            asked?;
            let started = go(of, exec, session).await?;
            failpoint::hit(failpoint::EXEC_READY);
            Ok(started)
        });
        beginning.await.unwrap_or_else(|panic| {
            Err(ExecError::State { what: "begin the process", source: io::Error::other(panic) })
        })
    }
}

/// What may be known of it.
fn begin_command(engine: &Engine, program: &Program, detached: bool) -> impl Fn(StartId, SessionId) -> Command + use<> {
    let log_args = engine.config.exec_log_args;
    let argv = if log_args { program.args.join(" ") } else { program.args.first().cloned().unwrap_or_default() };
    let argv = cut(&argv, Event::ARGV_LIMIT).to_owned();
    let (user, tty) = (cut(&program.user, Event::USER_LIMIT).to_owned(), program.tty);
    move |start, exec| Command::BeginExec { start, exec, argv: argv.clone(), user: user.clone(), tty, detached }
}

/// The preparation, and what is done of `name` meanwhile. A name that comes after the preparation was given up, by a thread
/// that has hung, is nobody's; one that came before is seen through.
async fn while_preparing<T, N, R: Future<Output = Result<(), ExecError>>>(
    preparing: impl Future<Output = Result<T, ExecError>>,
    name: oneshot::Receiver<N>,
    record: impl FnOnce(N) -> R,
) -> (Result<T, ExecError>, Result<(), ExecError>) {
    let (over, is_over) = oneshot::channel::<()>();
    let preparing = async {
        let prepared = preparing.await;
        drop(over);
        prepared
    };
    let recording = async {
        let named = tokio::select! {
            biased;
            named = name => named.ok(),
            _ = is_over => None,
        };
        // Never named is refused, which the preparation tells.
        match named {
            Some(named) => record(named).await,
            None => Ok(()),
        }
    };
    tokio::join!(preparing, recording)
}

/// Makes the directory and starts the shim. Who records it hears its name as soon as there is nothing left to refuse it
/// for; nobody records a probe.
pub(super) async fn prepare(
    engine: &Arc<Engine>,
    id: ContainerId,
    program: &Program,
    wish: Wish,
    named: Option<oneshot::Sender<Named>>,
) -> Result<Begun, ExecError> {
    let waiting = enterable(engine, id);
    let busy = |_| ExecError::Rejected(Rejection::InTransition);
    let entity = tokio::time::timeout(PATIENCE, waiting).await.map_err(busy)??;
    engine.moves.expect();
    let preparing = {
        let (engine, program) = (engine.clone(), program.clone());
        move |owner: &Owner| begin(&engine, &entity, &program, wish, named, owner)
    };
    engine.execs.places.run(id, PREPARE_DEADLINE, preparing).await?
}

/// Waits for recovery and for an operation under way; refuses what the record would be refused with.
async fn enterable(engine: &Engine, id: ContainerId) -> Result<Arc<Entity>, ExecError> {
    engine.containers.verified(&id).await;
    loop {
        let entity = engine.containers.get(&id).ok_or(ExecError::Rejected(Rejection::NoSuchContainer))?;
        match entity.state.enterable() {
            Ok(_) => return Ok(entity),
            Err(Rejection::InTransition) => engine.containers.changed_since(&id, entity.state.version).await,
            Err(rejection) => return Err(ExecError::Rejected(rejection)),
        }
    }
}

/// Everything up to the waiting shim. Blocks.
fn begin(
    engine: &Arc<Engine>,
    entity: &Entity,
    program: &Program,
    wish: Wish,
    named: Option<oneshot::Sender<Named>>,
    owner: &Owner,
) -> Result<Begun, ExecError> {
    let container = &entity.state;
    let definition = engine.definition(entity)?;
    let runtime = engine.runtime(&container.card.runtime)?;
    let shim = engine.shim().ok_or_else(|| ExecError::ShimMissing { path: engine.config.shim.clone() })?;
    let run = container.phase.run().ok_or(ExecError::Rejected(Rejection::NotRunning))?;
    // As the container sees its root: with its mounts.
    let root = PathBuf::from(format!("/proc/{}/root", run.process.pid));
    let spec = std::fs::read(engine.bundle(container).spec()).map_err(ExecError::state("read the container's spec"))?;
    let size = wish.size.filter(|_| program.tty);
    let built =
        spec::exec(&spec, &definition, &engine.host, &root, program, size.map(|size| (size.width, size.height)));
    // It was looked at by the pid of a process that still lives: it was that one's.
    if !to_reference(run.process).alive() {
        return Err(ExecError::Rejected(Rejection::NotRunning));
    }
    let (spec, state) = (built?, engine.state_dir(container));
    if owner.has_left() {
        return Err(ExecError::Slow { limit: PREPARE_DEADLINE });
    }
    let exec = new_id()?;
    let instance = engine.instance_of(container, run.start);
    let process = ExecProcess {
        version: EXEC_VERSION,
        id: instance.id,
        runtime: Runtime { path: runtime.path, args: runtime.args },
        runtime_root: instance.root,
        systemd_cgroup: engine.config.systemd_cgroup,
        runtime_deadline_ms: RUNTIME_DEADLINE.as_millis() as u64,
        terminal: program.tty,
        console_size: size.map(|Size { width, height }| ConsoleSize { width, height }),
        open_stdin: wish.stdin && !wish.detached,
        detached: wish.detached,
        cgroup_procs: if wish.detached { engine.shim_cgroups() } else { vec![] },
    };
    let directory = make_directory(&state, exec, named.is_none())?;
    let (spawned, child) = oneshot::channel();
    let (recorded, is_recorded) = oneshot::channel();
    let (done, finished) = oneshot::channel();
    // First: whatever becomes of the rest, it clears up.
    let of = Of { id: container.id, exec, directory: directory.clone(), detached: wish.detached };
    keep::keep(engine, of, Some(child), is_recorded, done);
    if let Some(named) = named {
        let _ = named.send(Named { exec, start: run.start, recorded });
    }
    let (session, pid) = start(&shim, &directory, &process, &spec)?;
    let _ = spawned.send(pid);
    Ok(Begun { exec, of: run.process, session, finished })
}

fn start(shim: &Path, directory: &StateDir, process: &ExecProcess, spec: &[u8]) -> Result<(Session, i32), ExecError> {
    write_private(&directory.file(SPEC), spec).map_err(ExecError::state("write the process"))?;
    process.write(directory).map_err(ExecError::Describe)?;
    let (session, theirs) = Session::pair().map_err(ExecError::state("make a socket pair"))?;
    let pid = spawn::start_exec(shim, directory, theirs.as_fd())
        .map_err(|source| ExecError::Spawn { path: shim.to_owned(), source })?;
    Ok((session, pid))
}

/// `<state>/exec/<id>`; a probe's name says that the journal has never heard of it.
fn make_directory(state: &StateDir, exec: SessionId, probe: bool) -> Result<StateDir, ExecError> {
    let name = if probe { format!("{}{exec}", keep::PROBE) } else { exec.to_string() };
    let path = state.file(keep::DIRECTORY).join(name);
    // The container's own directory is not made here: where it is gone, so is the container.
    let make = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
    let made = match make(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match make(&state.file(keep::DIRECTORY)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => make(&path),
        },
        other => other,
    };
    made.map_err(ExecError::state("make the process's directory"))?;
    Ok(StateDir::new(path))
}

fn new_id() -> Result<SessionId, ExecError> {
    let mut bytes = [0; 8];
    let failed =
        |error: getrandom::Error| ExecError::State { what: "make an id", source: io::Error::other(format!("{error}")) };
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(SessionId(bytes))
}

/// Lets the shim run it, and waits for its answer.
pub(super) async fn go(of: Process, exec: SessionId, session: Session) -> Result<Exec, ExecError> {
    let (mut input, mut output) = session.split();
    let answering = async {
        // A shim that has died is told below.
        let _ = input.request(&Request::Go).await;
        failpoint::hit(failpoint::EXEC_TOLD);
        loop {
            match output.next().await {
                Told::Ready(Ready { pid, .. }) => return Ok(pid),
                // Whatever the runtime says of a container that is gone, the program is not to blame.
                Told::Failed(_) if !to_reference(of).alive() => return Err(ExecError::Rejected(Rejection::NotRunning)),
                Told::Failed(failed) => return Err(ExecError::failed(&failed)),
                Told::Lost | Told::Exited(_) => return Err(ExecError::ShimDied),
                // None comes before the answer.
                Told::Stdout(_) | Told::Stderr(_) | Told::Done(_) | Told::Refused(..) => {}
            }
        }
    };
    let limit = ANSWER_DEADLINE;
    let pid = tokio::time::timeout(limit, answering).await.map_err(|_| ExecError::NoAnswer { limit })??;
    Ok(Exec { exec, pid, input, output })
}

/// Lets the process outlive its session, and closes that; how it has ended, if it has in the same moment. After an error
/// nobody has said that it goes on, and with its session it may have ended.
pub async fn release((mut input, mut output): (Input, Output)) -> Result<Option<Exit>, ExecError> {
    let releasing = async {
        // A shim that has died is told below.
        let _ = input.request(&Request::Release).await;
        loop {
            match output.next().await {
                Told::Done(kind::RELEASE) => return Ok(None),
                Told::Exited(exit) => return Ok(Some(exit)),
                Told::Refused(kind::RELEASE, message) => {
                    return Err(ExecError::State { what: "leave the process", source: io::Error::other(message) });
                }
                Told::Failed(_) | Told::Lost => return Err(ExecError::ShimDied),
                Told::Stdout(_) | Told::Stderr(_) | Told::Ready(_) | Told::Done(_) | Told::Refused(..) => {}
            }
        }
    };
    let limit = RELEASE_PATIENCE;
    tokio::time::timeout(limit, releasing).await.map_err(|_| ExecError::NotReleased { limit })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::to_process;
    use isulad_shim::{ExitStatus, Failed, Frame, ProcessRef, Step};
    use std::io::Write;

    /// A shim that has said this, and then nothing more.
    fn said(frames: &[Frame]) -> (Session, std::os::unix::net::UnixStream) {
        let (session, mut theirs) = Session::pair().unwrap();
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        theirs.write_all(&bytes).unwrap();
        (session, theirs)
    }

    #[tokio::test]
    async fn what_a_runtime_says_of_a_container_that_is_gone_is_not_about_the_program() {
        let message = "exec /bin/sh: no such file or directory".to_owned();
        let failed = Frame::Failed(Failed { step: Step::Exec, message, runtime_status: Some(1) });
        let me = to_process(ProcessRef::current().unwrap());
        let (session, _shim) = said(std::slice::from_ref(&failed));
        let error = go(me, SessionId([1; 8]), session).await.err().unwrap();
        assert!(matches!(error, ExecError::NotStarted { code: 127, .. }), "{error:?}");
        let (session, _shim) = said(&[failed]);
        let gone = Process { start_time: me.start_time + 1, ..me };
        let error = go(gone, SessionId([1; 8]), session).await.err().unwrap();
        assert!(matches!(error, ExecError::Rejected(Rejection::NotRunning)), "{error:?}");
        assert_eq!(error.to_string(), "the container is not running");
    }

    #[tokio::test]
    async fn a_preparation_that_was_given_up_is_not_waited_for() {
        let slow = || ExecError::Slow { limit: PREPARE_DEADLINE };
        let (named, name) = oneshot::channel();
        let never = |()| async { panic!("it was given up before it had a name") };
        let (prepared, recorded) = while_preparing(async { Err::<(), _>(slow()) }, name, never).await;
        assert!(matches!(prepared, Err(ExecError::Slow { .. })));
        recorded.unwrap();
        named.send(()).expect_err("nobody hears of it any more");
        // Named before it was given up: recorded, so that whoever keeps it knows.
        let (named, name) = oneshot::channel();
        let preparing = async {
            named.send(7).unwrap();
            Err::<(), _>(slow())
        };
        let mut told = None;
        let record = |name| {
            told = Some(name);
            async { Ok(()) }
        };
        assert!(while_preparing(preparing, name, record).await.0.is_err());
        assert_eq!(told, Some(7));
    }

    #[tokio::test]
    async fn only_a_clean_answer_is_a_release() {
        let exit = Frame::Exit(ExitStatus::Code(3), Some(5));
        let after_output = [Frame::Stdout(b"x".to_vec()), Frame::Ack(kind::RESIZE), Frame::Ack(kind::RELEASE)];
        let (session, _shim) = said(&after_output);
        assert!(matches!(release(session.split()).await, Ok(None)));
        let (session, _shim) = said(&[exit]);
        let ended = release(session.split()).await.unwrap();
        assert_eq!(ended, Some(Exit { status: ExitStatus::Code(3), at: Some(5) }));
        let (session, _shim) = said(&[Frame::Error(kind::RELEASE, "no space left".into())]);
        assert!(matches!(release(session.split()).await, Err(ExecError::State { .. })));
        let (session, shim) = said(&[]);
        drop(shim);
        assert!(matches!(release(session.split()).await, Err(ExecError::ShimDied)));
    }
}
