//! The life of an exec's shim.
//!
//! ```text
//! attached: stay ──┐
//!                  ├─▶ set up ─▶ runtime ─▶ `Go` ─▶ launch ─▶ ready ─▶ wait ─▶ drain ─▶ exit record ─▶ farewell ─▶ leave
//! detached: detach ┘    (waits for what to run)        └─▶ failed, exit record ──────────────────────────┘
//! ```
//! The runtime is started at once and reads what it shall run from a pipe, to which that is written after `Go`: a runtime
//! takes longer to come to that point than the daemon to make its record durable. A client that hangs up before `Go` wants
//! nothing run; neither a runtime that is killed then nor one whose pipe ends has touched the container. Afterwards, where
//! the client is attached, it takes the process with it.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use isulad_shim::control::{self, Streams};
use isulad_shim::exec::{GONE, SPEC, write_private};
use isulad_shim::process::Log as NoLog;
use isulad_shim::sys::spawn::Mode;
use isulad_shim::{
    ExecProcess, ExecRecord, ExitStatus, Failed, Frame, Outcome, ProcessRef, Ready, Request, StateDir, Step, failpoint,
    pid_file, tree,
};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::ending::{self, Pumps};
use super::flow::in_runtime;
use super::launch::{self, Connected, Launched};
use super::output::hub::Hub;
use super::output::log::Log;
use super::output::{Stream, client, input, pump, screen, time};
use super::own_process;
use super::reaper::{Reaper, Signals};
use super::runtime::{self, Call};
use super::stdio::{self, Ours, Theirs};

/// How long a background process may be silent with the output open before it is left alone.
const SILENCE: Duration = Duration::from_millis(200);
/// How long one that goes on writing is listened to.
const DRAIN: Duration = Duration::from_secs(2);
/// How long killed processes may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// A process that runs longer is worth the time it takes to protect its shim.
const SHORT: Duration = Duration::from_secs(1);
/// How long a daemon that does not read is waited for, when nothing was started or nobody is attached.
const FAREWELL: Duration = Duration::from_secs(5);
/// An attached client is waited for as long as it is there.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(365 * 24 * 3600);

struct Exec {
    directory: StateDir,
    process: ExecProcess,
    me: ProcessRef,
}

/// A runtime that waits for what to run.
struct Waiting<'a> {
    call: Call<'a>,
    runtime: i32,
    spec: pipe::Sender,
}

/// What is there before the event loop.
struct Prepared {
    exec: Exec,
    signals: Signals,
    theirs: Theirs,
    ours: Ours,
}

pub(crate) fn exec(directory: StateDir) -> ExitCode {
    let told = directory.clone();
    let lived = own_process::take_client().and_then(|client| match prepare(directory) {
        Ok(prepared) => in_runtime(live(prepared, client)),
        Err(error) => {
            refuse(&UnixStream::from(client), &told, &error);
            Err(error)
        }
    });
    lived.unwrap_or_else(|error| {
        eprintln!("isulad-shim: {error:#}");
        ExitCode::FAILURE
    })
}

/// Nothing can be run. That is somebody's only once it is wanted, as every end.
fn refuse(mut client: &UnixStream, directory: &StateDir, error: &anyhow::Error) {
    if until_go(client).is_err() {
        return;
    }
    let failed = runtime::failed(Step::Setup, format!("{error:#}"));
    leave_record(directory, ExitStatus::Unknown, time::now(), Duration::ZERO, Some(failed.clone()));
    let mut bytes = Vec::new();
    Frame::Failed(failed).encode(&mut bytes);
    // The socket's buffer is empty: this does not wait.
    let _ = client.write_all(&bytes);
}

/// Waits for the word to run it, or for the end of who would say it. Blocks.
fn until_go(mut client: &UnixStream) -> anyhow::Result<()> {
    loop {
        let mut header = [0; control::HEADER];
        client.read_exact(&mut header)?;
        let (kind, length) = control::parse_header(header)?;
        let mut payload = vec![0; length];
        client.read_exact(&mut payload)?;
        if Request::decode(kind, payload)? == Request::Go {
            return Ok(());
        }
    }
}

fn prepare(directory: StateDir) -> anyhow::Result<Prepared> {
    let process = ExecProcess::read(&directory)?;
    let me =
        if process.detached { own_process::detach(Mode::Run, &directory)? } else { own_process::stay(&directory)? };
    failpoint::hit(failpoint::EXEC_SHIM_PID);
    own_process::settle(&directory)?;
    let signals = Signals::block().context("cannot collect signals")?;
    let (theirs, ours) = stdio::make_for_exec(&process)?;
    Ok(Prepared { exec: Exec { directory, process, me }, signals, theirs, ours })
}

async fn live(prepared: Prepared, client: OwnedFd) -> anyhow::Result<ExitCode> {
    let Prepared { exec, signals, theirs, ours } = prepared;
    let reaper = Reaper::obeying(signals).context("cannot collect signals")?;
    let hub = Hub::new(Log::new(&NoLog::None), None);
    join(client, &exec, &hub)?;
    // Told only after `Go`: what fails before is nobody's yet.
    let waiting = exec.start_runtime(&theirs, &ours);
    drop(theirs);
    tokio::select! {
        biased;
        () = hub.go() => {}
        () = hub.deserted() => return Ok(exec.give_up()),
        () = reaper.asked_to_leave() => return Ok(exec.give_up()),
        error = reaper.listen() => {
            exec.give_up();
            return Err(error).context("cannot collect signals");
        }
    }
    let launched = tokio::select! {
        launched = exec.launch(waiting, ours, &reaper) => launched,
        () = exec.unwanted(&hub, &reaper) => {
            exec.kill();
            // Whether it ran at all, and how it ended, nobody has seen.
            exec.leave_record(ExitStatus::Unknown, time::now(), Duration::ZERO, None);
            return Ok(ExitCode::FAILURE);
        }
    };
    match launched.and_then(|launched| exec.announce(launched, &hub)) {
        Ok(launched) => exec.see_out(launched, &hub, &reaper).await,
        Err(failed) => {
            // A process that was started all the same, and that nobody would know of.
            if !Reaper::childless() {
                exec.kill();
            }
            exec.leave_record(ExitStatus::Unknown, time::now(), Duration::ZERO, Some(failed.clone()));
            hub.set_outcome(Outcome::Failed(failed));
            hub.farewell(FAREWELL).await;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A client that hung up, and did not say before that the process shall go on.
async fn deserted(hub: &Hub) {
    hub.deserted().await;
    if hub.is_released() {
        std::future::pending::<()>().await;
    }
}

fn join(client: OwnedFd, exec: &Exec, hub: &Rc<Hub>) -> anyhow::Result<()> {
    let stream = UnixStream::from(client);
    stream.set_nonblocking(true).context("cannot prepare the client's socket")?;
    let stream = tokio::net::UnixStream::from_std(stream).context("cannot serve the client's socket")?;
    let streams = if exec.process.detached { Streams::default() } else { Streams::ALL };
    client::join(stream, streams, true, hub);
    Ok(())
}

impl Exec {
    /// Starts the runtime, which waits for what to run.
    fn start_runtime(&self, theirs: &Theirs, ours: &Ours) -> Result<Waiting<'_>, Failed> {
        let console = matches!(ours, Ours::Terminal { .. }).then(|| stdio::console_path(&self.directory));
        let call = Call::exec(&self.directory, &self.process, console);
        let io = |error| runtime::failed(Step::Setup, format!("cannot make a pipe to the runtime: {error}"));
        let (spec, ours) = std::io::pipe().map_err(io)?;
        let ours = OwnedFd::from(ours);
        rustix::io::ioctl_fionbio(&ours, true).map_err(|errno| io(errno.into()))?;
        let ours = pipe::Sender::from_owned_fd(ours).map_err(io)?;
        failpoint::hit(failpoint::EXEC_BEFORE_RUNTIME);
        let runtime = call.spawn_reading(theirs.as_stdio(), spec.as_fd())?;
        Ok(Waiting { call, runtime, spec: ours })
    }

    /// Nobody wants anything run: the runtime goes before it has done anything.
    fn give_up(&self) -> ExitCode {
        if !Reaper::childless() {
            self.kill();
        }
        ExitCode::FAILURE
    }

    async fn launch(
        &self,
        waiting: Result<Waiting<'_>, Failed>,
        ours: Ours,
        reaper: &Reaper,
    ) -> Result<Launched, Failed> {
        // From here on a daemon that comes back has something to look after.
        let setup = |what, error| runtime::failed(Step::Setup, format!("cannot {what}: {error}"));
        self.say_gone(waiting.as_ref().ok()).map_err(|error| setup("write `gone`", error))?;
        let Waiting { call, runtime, mut spec } = waiting?;
        let wanted = std::fs::read(self.directory.file(SPEC)).map_err(|error| setup("read `spec.json`", error))?;
        let telling = async {
            // A runtime that has left tells why itself.
            let _ = spec.write_all(&wanted).await;
            drop(spec);
            failpoint::hit(failpoint::EXEC_TOLD_RUNTIME);
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = call.wait(runtime, reaper, || ours.leftover()) => ended?,
            never = telling => match never {},
        }
        failpoint::hit(failpoint::EXEC_LAUNCHED);
        let refused = |error: String| runtime::failed(Step::Exec, error);
        let found = launch::find(&self.directory, ours, self.process.console_size);
        let launched = found.map_err(|error| refused(format!("{error:#}")))?;
        let parent = launch::handed_over(&launched.init, launched.parent, self.me.pid).await;
        if parent != self.me.pid {
            let pid = launched.init.pid;
            return Err(refused(format!("process {pid} is not the shim's child but that of {parent}")));
        }
        Ok(launched)
    }

    fn say_gone(&self, waiting: Option<&Waiting<'_>>) -> std::io::Result<()> {
        let path = self.directory.file(GONE);
        match waiting.and_then(|waiting| ProcessRef::of(waiting.runtime).ok()) {
            Some(runtime) => pid_file::write(&path, runtime).map_err(std::io::Error::other),
            None => write_private(&path, &[]),
        }
    }

    /// Waits until nobody wants the process any more.
    async fn unwanted(&self, hub: &Hub, reaper: &Reaper) {
        tokio::select! {
            () = deserted(hub), if !self.process.detached => {}
            () = reaper.asked_to_leave() => {}
        }
    }

    fn announce(&self, launched: Launched, hub: &Hub) -> Result<Launched, Failed> {
        pid_file::write(&self.directory.pid(), launched.init)
            .map_err(|error| runtime::failed(Step::Setup, format!("{:#}", anyhow::Error::from(error))))?;
        hub.set_outcome(Outcome::Ready(Ready {
            pid: launched.init.pid,
            pid_start: launched.init.start_time,
            shim_pid: self.me.pid,
            shim_start: self.me.start_time,
            at: time::now(),
        }));
        failpoint::hit(failpoint::EXEC_READY);
        Ok(launched)
    }

    /// From the running process to the end of everything.
    async fn see_out(&self, launched: Launched, hub: &Rc<Hub>, reaper: &Reaper) -> anyhow::Result<ExitCode> {
        let pumps = self.connect(launched.io, hub)?;
        let status = self.end_of(launched.init, hub, reaper).await?;
        // Not from now on: a short one has ended before its runtime says that it began.
        let (at, lasted) = (time::now(), launched.init.age());
        ending::drain(pumps, hub, SILENCE, DRAIN).await;
        failpoint::hit(failpoint::EXEC_BEFORE_RECORD);
        self.leave_record(status, at, lasted, None);
        failpoint::hit(failpoint::EXEC_RECORDED);
        hub.set_exit(status, Some(at));
        hub.farewell(if self.process.detached { FAREWELL } else { AS_LONG_AS_IT_TAKES }).await;
        Ok(ExitCode::SUCCESS)
    }

    async fn end_of(&self, init: ProcessRef, hub: &Hub, reaper: &Reaper) -> anyhow::Result<ExitStatus> {
        let waiting = async {
            if let Ok(status) = tokio::time::timeout(SHORT, reaper.until(init.pid)).await {
                return status;
            }
            if self.process.detached {
                own_process::protect(&self.process.cgroup_procs);
            } else {
                // The leader of its group, which is all it can be: it ends with the daemon anyway.
                own_process::shelter(&self.process.cgroup_procs);
            }
            reaper.until(init.pid).await
        };
        let status = tokio::select! {
            status = waiting => Some(status),
            () = self.unwanted(hub, reaper) => None,
        };
        let status = match status {
            Some(status) => status,
            None => {
                self.kill();
                // Frozen, or held by the kernel: it goes when it can, and process 1 reaps it.
                tokio::time::timeout(SHORT, reaper.until(init.pid)).await.unwrap_or(Ok(ExitStatus::Unknown))
            }
        };
        status.context("cannot wait for the process")
    }

    fn connect(&self, io: Connected, hub: &Rc<Hub>) -> anyhow::Result<Pumps> {
        let stop = watch::Sender::new(false);
        let (tasks, input) = match io {
            Connected::Fifos { stdin, stdout, stderr } => {
                let carry = |fd, stream| spawn_local(pump::pipe(fd, stream, hub.clone(), stop.subscribe()));
                (vec![carry(stdout, Stream::Stdout), carry(stderr, Stream::Stderr)], stdin)
            }
            Connected::Terminal { master } => {
                let duplicate = || master.try_clone().context("cannot duplicate the terminal");
                hub.input.set_terminal(duplicate()?);
                let input = self.process.open_stdin.then(duplicate).transpose()?;
                (vec![spawn_local(screen::carry(master, hub.clone(), stop.subscribe()))], input)
            }
            Connected::Nothing => (Vec::new(), None),
        };
        match input {
            Some(fd) => {
                hub.input.open(false);
                spawn_local(input::carry(fd, hub.clone()));
            }
            None => hub.input.absent(),
        }
        Ok(Pumps { tasks, stop })
    }

    /// Ends all that is found of the process's tree.
    fn kill(&self) {
        if !tree::kill_below_me(KILL_LIMIT) {
            eprintln!("isulad-shim: not everything that the process has started could be killed");
        }
    }

    fn leave_record(&self, status: ExitStatus, at: u64, lasted: Duration, failed: Option<Failed>) {
        leave_record(&self.directory, status, at, lasted, failed);
    }
}

/// Best effort: a directory that is gone has nobody who would read it.
fn leave_record(directory: &StateDir, status: ExitStatus, at: u64, lasted: Duration, failed: Option<Failed>) {
    let lasted_ms = lasted.as_millis() as u64;
    let record = ExecRecord { status, at, lasted_ms, failed };
    if let Err(error) = record.write(directory) {
        eprintln!("isulad-shim: cannot write the exit record: {error}");
    }
}
