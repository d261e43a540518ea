//! The life of an exec's shim.
//!
//! ```text
//! attached: stay ──┐
//!                  ├─▶ set up ─▶ runtime ─▶ `Go` ─▶ launch ─▶ ready ─▶ wait ─▶ drain ─▶ exit record ─▶ farewell ─▶ leave
//! detached: detach ┘    (waits for its process)        └─▶ failed, exit record ──────────────────────────┘
//! ```
//! The runtime is started at once and reads the process to run from a pipe, to which it is written after `Go`: a
//! runtime takes longer to reach that point than the daemon to make its record durable. A client that hangs up before
//! `Go` has cancelled the exec; a runtime that is killed then, or that reads the end of its pipe, has not touched the
//! container. After `Go`, an attached client that hangs up ends the process.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use isulad_shim::control::{self, Streams};
use isulad_shim::exec::{GO_MARKER, SPEC, write_private};
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
use super::stdio::{self, RuntimeEnds, ShimEnds};

/// How long a background process may be silent with the output open before the shim stops waiting for it.
const SILENCE: Duration = Duration::from_millis(200);
/// How long the output of a background process that goes on writing is read.
const DRAIN: Duration = Duration::from_secs(2);
/// How long killed processes may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Protecting the shim takes time; it is done only for a process that runs longer than this.
const SHORT: Duration = Duration::from_secs(1);
/// How long a client that does not read is waited for when nothing was started or the exec is detached.
const FAREWELL: Duration = Duration::from_secs(5);
/// An attached client is waited for until it hangs up.
const UNTIL_HANG_UP: Duration = Duration::from_secs(365 * 24 * 3600);

struct Exec {
    directory: StateDir,
    process: ExecProcess,
    me: ProcessRef,
}

/// A runtime that waits for the process to run.
struct Waiting<'a> {
    call: Call<'a>,
    runtime: i32,
    spec: pipe::Sender,
}

/// State prepared before the event loop starts.
struct Prepared {
    exec: Exec,
    signals: Signals,
    runtime_ends: RuntimeEnds,
    shim_ends: ShimEnds,
}

pub(crate) fn exec(directory: StateDir) -> ExitCode {
    let record_directory = directory.clone();
    let result = own_process::take_client().and_then(|client| match prepare(directory) {
        Ok(prepared) => in_runtime(live(prepared, client)),
        Err(error) => {
            report_setup_failure(&UnixStream::from(client), &record_directory, &error);
            Err(error)
        }
    });
    result.unwrap_or_else(|error| {
        eprintln!("isulad-shim: {error:#}");
        ExitCode::FAILURE
    })
}

/// Reports that the exec cannot be set up. Like every outcome, it is recorded only after `Go`.
fn report_setup_failure(mut client: &UnixStream, directory: &StateDir, error: &anyhow::Error) {
    if wait_for_go(client).is_err() {
        return;
    }
    let failed = runtime::failed(Step::Setup, format!("{error:#}"));
    leave_record(directory, ExitStatus::Unknown, time::now(), Duration::ZERO, Some(failed.clone()));
    let mut bytes = Vec::new();
    Frame::Failed(failed).encode(&mut bytes);
    // The socket's buffer is empty: this does not wait.
    let _ = client.write_all(&bytes);
}

/// Waits for `Go`; an error when the client hangs up before. Blocks.
fn wait_for_go(mut client: &UnixStream) -> anyhow::Result<()> {
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
    let (runtime_ends, shim_ends) = stdio::make_for_exec(&process)?;
    Ok(Prepared { exec: Exec { directory, process, me }, signals, runtime_ends, shim_ends })
}

async fn live(prepared: Prepared, client: OwnedFd) -> anyhow::Result<ExitCode> {
    let Prepared { exec, signals, runtime_ends, shim_ends } = prepared;
    let reaper = Reaper::with_sigterm(signals).context("cannot collect signals")?;
    let hub = Hub::new(Log::none(), None);
    join(client, &exec, &hub)?;
    // A failure is reported only after `Go`: until then the exec may still be cancelled.
    let waiting = exec.start_runtime(&runtime_ends, &shim_ends);
    drop(runtime_ends);
    tokio::select! {
        biased;
        () = hub.go() => {}
        () = hub.no_clients() => return Ok(exec.abort_runtime()),
        () = reaper.sigterm() => return Ok(exec.abort_runtime()),
        error = reaper.listen() => {
            exec.abort_runtime();
            return Err(error).context("cannot collect signals");
        }
    }
    let launched = tokio::select! {
        launched = exec.launch(waiting, shim_ends, &reaper) => launched,
        () = exec.cancelled(&hub, &reaper) => {
            exec.kill();
            // Whether the process ran, and how it ended, is unknown.
            exec.leave_record(ExitStatus::Unknown, time::now(), Duration::ZERO, None);
            return Ok(ExitCode::FAILURE);
        }
    };
    match launched.and_then(|launched| exec.announce(launched, &hub)) {
        Ok(launched) => exec.supervise(launched, &hub, &reaper).await,
        Err(failed) => {
            // A process that was started despite the failure has no owner any more.
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

/// Waits until the client has hung up without a `Release` before.
async fn client_left(hub: &Hub) {
    hub.no_clients().await;
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
    /// Starts the runtime, which waits for the process to run.
    fn start_runtime(&self, runtime_ends: &RuntimeEnds, shim_ends: &ShimEnds) -> Result<Waiting<'_>, Failed> {
        let console = matches!(shim_ends, ShimEnds::Terminal { .. }).then(|| stdio::console_path(&self.directory));
        let call = Call::exec(&self.directory, &self.process, console);
        let io = |error| runtime::failed(Step::Setup, format!("cannot make a pipe to the runtime: {error}"));
        let (spec, writer) = std::io::pipe().map_err(io)?;
        let writer = OwnedFd::from(writer);
        rustix::io::ioctl_fionbio(&writer, true).map_err(|errno| io(errno.into()))?;
        let writer = pipe::Sender::from_owned_fd(writer).map_err(io)?;
        failpoint::hit(failpoint::EXEC_BEFORE_RUNTIME);
        let runtime = call.spawn_reading(runtime_ends.as_stdio(), spec.as_fd())?;
        Ok(Waiting { call, runtime, spec: writer })
    }

    /// The exec was cancelled: the runtime is killed before it has done anything.
    fn abort_runtime(&self) -> ExitCode {
        if !Reaper::childless() {
            self.kill();
        }
        ExitCode::FAILURE
    }

    async fn launch(
        &self,
        waiting: Result<Waiting<'_>, Failed>,
        shim_ends: ShimEnds,
        reaper: &Reaper,
    ) -> Result<Launched, Failed> {
        // From here on a daemon that recovers has a process to look after.
        let setup = |what, error| runtime::failed(Step::Setup, format!("cannot {what}: {error}"));
        self.write_go_marker(waiting.as_ref().ok()).map_err(|error| setup("write `gone`", error))?;
        let Waiting { call, runtime, mut spec } = waiting?;
        let wanted = std::fs::read(self.directory.file(SPEC)).map_err(|error| setup("read `spec.json`", error))?;
        let write_spec = async {
            // A runtime that has exited reports the reason itself.
            let _ = spec.write_all(&wanted).await;
            drop(spec);
            failpoint::hit(failpoint::EXEC_SPEC_WRITTEN);
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = call.wait(runtime, reaper, || shim_ends.stderr_text()) => ended?,
            never = write_spec => match never {},
        }
        failpoint::hit(failpoint::EXEC_LAUNCHED);
        let refused = |error: String| runtime::failed(Step::Exec, error);
        let found = launch::find(&self.directory, shim_ends, self.process.console_size);
        let launched = found.map_err(|error| refused(format!("{error:#}")))?;
        let parent = launch::handed_over(&launched.init, launched.parent, self.me.pid, reaper).await;
        if parent != self.me.pid {
            let pid = launched.init.pid;
            return Err(refused(format!("process {pid} is not the shim's child but that of {parent}")));
        }
        Ok(launched)
    }

    fn write_go_marker(&self, waiting: Option<&Waiting<'_>>) -> std::io::Result<()> {
        let path = self.directory.file(GO_MARKER);
        match waiting.and_then(|waiting| ProcessRef::of(waiting.runtime).ok()) {
            Some(runtime) => pid_file::write(&path, runtime).map_err(std::io::Error::other),
            None => write_private(&path, &[]),
        }
    }

    /// Waits until the exec is cancelled: its client hung up, or SIGTERM came.
    async fn cancelled(&self, hub: &Hub, reaper: &Reaper) {
        tokio::select! {
            () = client_left(hub), if !self.process.detached => {}
            () = reaper.sigterm() => {}
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

    /// From the running process to the end of the shim.
    async fn supervise(&self, launched: Launched, hub: &Rc<Hub>, reaper: &Reaper) -> anyhow::Result<ExitCode> {
        let pumps = self.connect(launched.io, hub)?;
        let status = self.end_of(launched.init, hub, reaper).await?;
        // Not measured from here: a short process has ended before its runtime reports that it began.
        let (at, lasted) = (time::now(), launched.init.age());
        ending::drain(pumps, hub, SILENCE, DRAIN).await;
        failpoint::hit(failpoint::EXEC_BEFORE_RECORD);
        self.leave_record(status, at, lasted, None);
        failpoint::hit(failpoint::EXEC_RECORDED);
        hub.set_exit(status, Some(at));
        hub.farewell(if self.process.detached { FAREWELL } else { UNTIL_HANG_UP }).await;
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
                // The shim leads its process group, so it cannot start a session; it ends with the daemon anyway.
                own_process::shelter(&self.process.cgroup_procs);
            }
            reaper.until(init.pid).await
        };
        let status = tokio::select! {
            status = waiting => Some(status),
            () = self.cancelled(hub, reaper) => None,
        };
        let status = match status {
            Some(status) => status,
            None => {
                self.kill();
                // Frozen, or held by the kernel: it ends when it can, and process 1 reaps it.
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

    /// Kills every process found in the exec's process tree.
    fn kill(&self) {
        if !tree::kill_below_me(KILL_LIMIT) {
            eprintln!("isulad-shim: not everything that the process has started could be killed");
        }
    }

    fn leave_record(&self, status: ExitStatus, at: u64, lasted: Duration, failed: Option<Failed>) {
        leave_record(&self.directory, status, at, lasted, failed);
    }
}

/// Best effort: a directory that was removed has no reader either.
fn leave_record(directory: &StateDir, status: ExitStatus, at: u64, lasted: Duration, failed: Option<Failed>) {
    let lasted_ms = lasted.as_millis() as u64;
    let record = ExecRecord { status, at, lasted_ms, failed };
    if let Err(error) = record.write(directory) {
        eprintln!("isulad-shim: cannot write the exit record: {error}");
    }
}
