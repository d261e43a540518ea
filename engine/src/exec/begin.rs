//! The start of an exec: from its options to a running process.

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

use super::keep::{self, ExecRef};
use super::{ExecError, Execs};
use crate::cancel::CancelToken;
use crate::domain::container::{Command, Event, Rejection};
use crate::domain::id::{ContainerId, Process, SessionId, StartId};
use crate::domain::text::cut;
use crate::failpoint;
use crate::journal::record::Context;
use crate::ledger::Queue;
use crate::node::Node;
use crate::records::{Entity, to_reference};
use crate::session::{Exit, Input, Output, Session, SessionEvent, Size};
use crate::shim_process::RUNTIME_DEADLINE;
use crate::spec::{self, Program};

/// The preparation writes files and looks into the container's root: one that takes longer hangs.
const PREPARE_DEADLINE: Duration = Duration::from_secs(30);
/// The shim delivers earlier input before it answers.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
/// How long an exec waits for an operation under way.
const PATIENCE: Duration = Duration::from_secs(150);
/// The shim answers within the runtime's deadline and some time of its own.
const ANSWER_DEADLINE: Duration = RUNTIME_DEADLINE.saturating_add(Duration::from_secs(20));

/// Options of an exec beyond its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ExecOptions {
    /// The process reads the session's input; without it, it reads an end of file.
    pub stdin: bool,
    pub size: Option<Size>,
    /// The process has no streams, and outlives the session and the daemon.
    pub detached: bool,
}

/// A started process, and its session: dropping both halves ends the process, unless it is detached.
pub(crate) struct Exec {
    pub exec: SessionId,
    /// The pid on the host.
    pub pid: i32,
    pub input: Input,
    pub output: Output,
}

/// A shim that waits for its `Go`.
pub(super) struct PreparedExec {
    pub(super) exec: SessionId,
    /// The first process of the container.
    pub(super) first: Process,
    pub(super) session: Session,
    /// Turns ready when the keeper has done everything.
    pub(super) finished: oneshot::Receiver<()>,
}

/// An exec that has an id, a directory and a keeper, and gets a shim.
pub(super) struct NamedExec {
    exec: SessionId,
    /// The run of the container.
    start: StartId,
    /// Sends to the keeper whether `ExecStarted` is recorded. Dropped means no.
    recorded: oneshot::Sender<bool>,
}

impl Execs {
    /// Runs a process with a session, recorded in the journal. In a task of its own: a cancelled caller leaves nothing
    /// half done.
    pub(crate) async fn exec(
        self: &Arc<Self>,
        id: ContainerId,
        program: Program,
        options: ExecOptions,
        context: &Context,
    ) -> Result<Exec, ExecError> {
        let (execs, context) = (self.clone(), context.clone());
        let beginning = self.node.tasks.spawn(async move {
            let command = begin_command(&execs.node, &program, options.detached);
            let (execs, context, command) = (&execs, &context, &command);
            let (named, name) = oneshot::channel();
            let preparing = prepare(execs, id, &program, options, Some(named));
            // Recorded while the shim starts: the caller waits only for the longer of the two.
            let recording = |NamedExec { exec, start, recorded }| async move {
                failpoint::hit(failpoint::EXEC_BEFORE_RECORD);
                execs.containers.ask(Queue::Execs, &id, context, || vec![command(start, exec)]).await?;
                failpoint::hit(failpoint::EXEC_RECORDED);
                let _ = recorded.send(true);
                Ok::<_, ExecError>(())
            };
            let (begun, asked) = while_preparing(preparing, name, recording).await;
            let PreparedExec { exec, first, session, finished: _ } = begun?;
            asked?;
            let started = go(first, exec, session).await?;
            failpoint::hit(failpoint::EXEC_READY);
            Ok(started)
        });
        beginning.await.unwrap_or_else(|panic| {
            Err(ExecError::State { what: "begin the process", source: io::Error::other(panic) })
        })
    }
}

/// The command that records the exec. Without `exec_log_args` it has only the program's name, since arguments may hold
/// secrets.
fn begin_command(node: &Node, program: &Program, detached: bool) -> impl Fn(StartId, SessionId) -> Command + use<> {
    let log_args = node.config.exec_log_args;
    let argv = if log_args { program.args.join(" ") } else { program.args.first().cloned().unwrap_or_default() };
    let argv = cut(&argv, Event::ARGV_LIMIT).to_owned();
    let (user, tty) = (cut(&program.user, Event::USER_LIMIT).to_owned(), program.tty);
    move |start, exec| Command::BeginExec { start, exec, argv: argv.clone(), user: user.clone(), tty, detached }
}

/// Runs the preparation, and `record` on its name meanwhile. A name that comes after the preparation was given up, from
/// a thread that has hung, is ignored; one that came before is recorded.
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
        // An exec without a name was refused, and the preparation returns the reason.
        match named {
            Some(named) => record(named).await,
            None => Ok(()),
        }
    };
    tokio::join!(preparing, recording)
}

/// Makes the directory and starts the shim. `named` gets the name as soon as nothing can refuse the exec any more;
/// probes, which are not recorded, have none.
pub(super) async fn prepare(
    execs: &Arc<Execs>,
    id: ContainerId,
    program: &Program,
    options: ExecOptions,
    named: Option<oneshot::Sender<NamedExec>>,
) -> Result<PreparedExec, ExecError> {
    let waiting = enterable(execs, id);
    let busy = |_| ExecError::Rejected(Rejection::InTransition);
    let entity = tokio::time::timeout(PATIENCE, waiting).await.map_err(busy)??;
    execs.moves.expect();
    let preparing = {
        let (execs, program) = (execs.clone(), program.clone());
        move |cancel: &CancelToken| begin(&execs, &entity, &program, options, named, cancel)
    };
    execs.places.run(id, PREPARE_DEADLINE, preparing).await?
}

/// Waits for recovery and for an operation under way; refuses with the reason with which the record would be refused.
async fn enterable(execs: &Execs, id: ContainerId) -> Result<Arc<Entity>, ExecError> {
    execs.containers.verified(&id).await;
    loop {
        let entity = execs.containers.get(&id).ok_or(ExecError::Rejected(Rejection::NoSuchContainer))?;
        match entity.state.enterable() {
            Ok(_) => return Ok(entity),
            Err(Rejection::InTransition) => execs.containers.changed_since(&id, entity.state.version).await,
            Err(rejection) => return Err(ExecError::Rejected(rejection)),
        }
    }
}

/// Does everything up to the waiting shim. Blocks.
fn begin(
    execs: &Arc<Execs>,
    entity: &Entity,
    program: &Program,
    options: ExecOptions,
    named: Option<oneshot::Sender<NamedExec>>,
    cancel: &CancelToken,
) -> Result<PreparedExec, ExecError> {
    let container = &entity.state;
    let definition = execs.containers.definition(entity)?;
    let runtime = execs.node.runtime(&container.card.runtime)?;
    let shim = execs.node.shim().ok_or_else(|| ExecError::ShimMissing { path: execs.node.config.shim.clone() })?;
    let run = container.phase.run().ok_or(ExecError::Rejected(Rejection::NotRunning))?;
    // The root as the container sees it: with its mounts.
    let root = PathBuf::from(format!("/proc/{}/root", run.process.pid));
    let spec =
        std::fs::read(execs.node.bundle(container).spec()).map_err(ExecError::state("read the container's spec"))?;
    let size = options.size.filter(|_| program.tty);
    let built =
        spec::exec(&spec, &definition, &execs.node.host, &root, program, size.map(|size| (size.width, size.height)));
    // The root was read by the pid of the first process, which still lives: so it was that process's root.
    if to_reference(run.process).ending() {
        return Err(ExecError::Rejected(Rejection::NotRunning));
    }
    let (spec, state) = (built?, execs.node.state_dir(container));
    if cancel.is_cancelled() {
        return Err(ExecError::Slow { limit: PREPARE_DEADLINE });
    }
    let exec = new_id()?;
    let instance = execs.node.instance_of(container, run.start);
    let process = ExecProcess {
        version: EXEC_VERSION,
        id: instance.id,
        runtime: Runtime { path: runtime.path, args: runtime.args },
        runtime_root: instance.root,
        systemd_cgroup: execs.node.config.systemd_cgroup,
        runtime_deadline_ms: RUNTIME_DEADLINE.as_millis() as u64,
        terminal: program.tty,
        console_size: size.map(|Size { width, height }| ConsoleSize { width, height }),
        open_stdin: options.stdin && !options.detached,
        detached: options.detached,
        cgroup_procs: if options.detached { execs.node.shim_cgroups() } else { vec![] },
    };
    let directory = make_directory(&state, exec, named.is_none())?;
    let (spawned, child) = oneshot::channel();
    let (recorded, is_recorded) = oneshot::channel();
    let (done, finished) = oneshot::channel();
    // The keeper is first: it clears up also when a later step fails.
    let target = ExecRef { container: container.id, exec, directory: directory.clone(), detached: options.detached };
    keep::keep(execs, target, Some(child), is_recorded, done);
    if let Some(named) = named {
        let _ = named.send(NamedExec { exec, start: run.start, recorded });
    }
    let (session, pid) = start(&shim, &directory, &process, &spec)?;
    let _ = spawned.send(pid);
    Ok(PreparedExec { exec, first: run.process, session, finished })
}

fn start(shim: &Path, directory: &StateDir, process: &ExecProcess, spec: &[u8]) -> Result<(Session, i32), ExecError> {
    write_private(&directory.file(SPEC), spec).map_err(ExecError::state("write the process"))?;
    process.write(directory).map_err(ExecError::Describe)?;
    let (session, theirs) = Session::pair().map_err(ExecError::state("make a socket pair"))?;
    let pid = spawn::start_exec(shim, directory, theirs.as_fd())
        .map_err(|source| ExecError::Spawn { path: shim.to_owned(), source })?;
    Ok((session, pid))
}

/// Makes `<state>/exec/<id>`; a probe's name has a prefix, since the journal has no record of it.
fn make_directory(state: &StateDir, exec: SessionId, probe: bool) -> Result<StateDir, ExecError> {
    let name = if probe { format!("{}{exec}", keep::PROBE) } else { exec.to_string() };
    let path = state.file(keep::DIRECTORY).join(name);
    // The container's own directory is not made here: where it is missing, the container is gone.
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

/// Lets the shim run the process, and waits for its answer.
pub(super) async fn go(first: Process, exec: SessionId, session: Session) -> Result<Exec, ExecError> {
    let (mut input, mut output) = session.split();
    let answering = async {
        // A failure to send means that the shim has died, which the answer below shows.
        let _ = input.request(&Request::Go).await;
        failpoint::hit(failpoint::EXEC_TOLD);
        loop {
            match output.next().await {
                SessionEvent::Ready(Ready { pid, .. }) => return Ok(pid),
                // A runtime's message about a container that is gone is not the program's fault.
                SessionEvent::Failed(_) if to_reference(first).ending() => {
                    return Err(ExecError::Rejected(Rejection::NotRunning));
                }
                SessionEvent::Failed(failed) => return Err(ExecError::failed(&failed)),
                SessionEvent::Lost | SessionEvent::Exited(_) => return Err(ExecError::ShimDied),
                // None of these comes before the answer.
                SessionEvent::Stdout(_)
                | SessionEvent::Stderr(_)
                | SessionEvent::Done(_)
                | SessionEvent::Refused(..) => {}
            }
        }
    };
    let limit = ANSWER_DEADLINE;
    let pid = tokio::time::timeout(limit, answering).await.map_err(|_| ExecError::NoAnswer { limit })??;
    Ok(Exec { exec, pid, input, output })
}

/// Lets the process outlive its session, and closes the session; returns the exit, if it ended at the same moment.
/// After an error it is not known whether the process goes on: it may have ended with its session.
pub(crate) async fn release((mut input, mut output): (Input, Output)) -> Result<Option<Exit>, ExecError> {
    let releasing = async {
        // A failure to send means that the shim has died, which the answer below shows.
        let _ = input.request(&Request::Release).await;
        loop {
            match output.next().await {
                SessionEvent::Done(kind::RELEASE) => return Ok(None),
                SessionEvent::Exited(exit) => return Ok(Some(exit)),
                SessionEvent::Refused(kind::RELEASE, message) => {
                    return Err(ExecError::State { what: "leave the process", source: io::Error::other(message) });
                }
                SessionEvent::Failed(_) | SessionEvent::Lost => return Err(ExecError::ShimDied),
                SessionEvent::Stdout(_)
                | SessionEvent::Stderr(_)
                | SessionEvent::Ready(_)
                | SessionEvent::Done(_)
                | SessionEvent::Refused(..) => {}
            }
        }
    };
    let limit = RELEASE_PATIENCE;
    tokio::time::timeout(limit, releasing).await.map_err(|_| ExecError::NotReleased { limit })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::to_process;
    use isulad_shim::{ExitStatus, Failed, Frame, ProcessRef, Step};
    use std::io::Write;

    /// A session with a shim that has sent these frames, and then nothing more.
    fn session_with(frames: &[Frame]) -> (Session, std::os::unix::net::UnixStream) {
        let (session, mut theirs) = Session::pair().unwrap();
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        theirs.write_all(&bytes).unwrap();
        (session, theirs)
    }

    #[tokio::test]
    async fn a_failure_after_the_container_ended_is_not_running() {
        let message = "exec /bin/sh: no such file or directory".to_owned();
        let failed = Frame::Failed(Failed { step: Step::Exec, message, runtime_status: Some(1) });
        let me = to_process(ProcessRef::current().unwrap());
        let (session, _shim) = session_with(std::slice::from_ref(&failed));
        let error = go(me, SessionId([1; 8]), session).await.err().unwrap();
        assert!(matches!(error, ExecError::NotStarted { code: 127, .. }), "{error:?}");
        let (session, _shim) = session_with(&[failed]);
        let gone = Process { start_time: me.start_time + 1, ..me };
        let error = go(gone, SessionId([1; 8]), session).await.err().unwrap();
        assert!(matches!(error, ExecError::Rejected(Rejection::NotRunning)), "{error:?}");
        assert_eq!(error.to_string(), "the container is not running");
    }

    #[tokio::test]
    async fn a_name_after_the_preparation_was_given_up_is_not_recorded() {
        let slow = || ExecError::Slow { limit: PREPARE_DEADLINE };
        let (named, name) = oneshot::channel();
        let never = |()| async { panic!("it was given up before it had a name") };
        let (prepared, recorded) = while_preparing(async { Err::<(), _>(slow()) }, name, never).await;
        assert!(matches!(prepared, Err(ExecError::Slow { .. })));
        recorded.unwrap();
        named.send(()).expect_err("the receiver is gone");
        // NamedExec before it was given up: recorded, so that its keeper knows.
        let (named, name) = oneshot::channel();
        let preparing = async {
            named.send(7).unwrap();
            Err::<(), _>(slow())
        };
        let mut recorded_name = None;
        let record = |name| {
            recorded_name = Some(name);
            async { Ok(()) }
        };
        assert!(while_preparing(preparing, name, record).await.0.is_err());
        assert_eq!(recorded_name, Some(7));
    }

    #[tokio::test]
    async fn only_an_acknowledged_release_succeeds() {
        let exit = Frame::Exit(ExitStatus::Code(3), Some(5));
        let after_output = [Frame::Stdout(b"x".to_vec()), Frame::Ack(kind::RESIZE), Frame::Ack(kind::RELEASE)];
        let (session, _shim) = session_with(&after_output);
        assert!(matches!(release(session.split()).await, Ok(None)));
        let (session, _shim) = session_with(&[exit]);
        let ended = release(session.split()).await.unwrap();
        assert_eq!(ended, Some(Exit { status: ExitStatus::Code(3), at: Some(5) }));
        let (session, _shim) = session_with(&[Frame::Error(kind::RELEASE, "no space left".into())]);
        assert!(matches!(release(session.split()).await, Err(ExecError::State { .. })));
        let (session, shim) = session_with(&[]);
        drop(shim);
        assert!(matches!(release(session.split()).await, Err(ExecError::ShimDied)));
    }
}
