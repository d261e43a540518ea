//! The two modes of a container's shim: `run` starts the container, `adopt` takes over a running one.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use isulad_shim::control::Streams;
use isulad_shim::state_dir::LOG_INCOMPLETE;
use isulad_shim::sys::pidfd::{ExitInfo, PidFd};
use isulad_shim::sys::readable;
use isulad_shim::{Cause, ExitStatus, Failed, Outcome, ProcessRef, Ready, failpoint, pid_file};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::Shim;
use super::answer::Answer;
use super::ending::{self, Ended, Pumps};
use super::launch::{self, Connected, Launched, Launching};
use super::output::hub::{Hub, STALL_LIMIT};
use super::output::log::Log;
use super::output::pump::PeekPipe;
use super::output::{Stream, client, input, pump, screen, time};
use super::own_process;
use super::reaper::{Reaper, Signals};
use super::runtime::{self, InitState};
use super::stdio::{self, ShimEnds};

/// How long process 1 may take to reap an orphaned process before its status is given up.
const REAP_LIMIT: Duration = Duration::from_secs(10);
/// How long remaining writers may go on while the output of a container that has ended is saved.
const SAVING: Duration = Duration::from_secs(1);
/// How long clients may take to receive the news that the start failed.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) fn run(shim: &Shim, answer: &mut Answer, first: Option<OwnedFd>) -> anyhow::Result<ExitCode> {
    let prepared = || -> anyhow::Result<_> {
        let signals = Signals::block().context("cannot collect signals")?;
        let listener = stdio::listen_for_clients()?;
        let (runtime_ends, shim_ends) = stdio::make(&shim.process)?;
        // The mark of an earlier start.
        shim.state.remove(LOG_INCOMPLETE).context("cannot forget what an earlier log lacks")?;
        Ok((signals, listener, runtime_ends, shim_ends))
    };
    let (signals, listener, runtime_ends, shim_ends) = prepared().inspect_err(|_| ending::remove_files(shim))?;
    in_runtime(async {
        let (hub, reaper) = start_serving(shim, signals, listener).inspect_err(|_| ending::remove_files(shim))?;
        let launching = Launching::begin(shim, runtime_ends, shim_ends);
        // The runtime works concurrently until the wait below.
        let exit_fifo = stdio::open_exit_fifo();
        hub.log.borrow_mut().open();
        if let Some(first) = first {
            let stream = UnixStream::from(first);
            stream.set_nonblocking(true).context("cannot prepare the first client")?;
            client::join(tokio::net::UnixStream::from_std(stream)?, Streams::ALL, true, &hub);
        }
        let launched = match launching {
            Ok(launching) => launching.finish(&reaper).await,
            Err(failed) => Err(failed),
        };
        let launched = match launched.and_then(|launched| announce(shim, launched, answer, &hub)) {
            Ok(launched) => launched,
            Err(failed) => {
                undo(shim, failed, answer, &hub, &reaper).await;
                return Ok(ExitCode::FAILURE);
            }
        };
        let pumps = connect(shim, launched.io, &hub)?;
        own_process::protect(&shim.process.cgroup_procs);
        let pid = launched.init.pid;
        // Opened before the wait: its parent may reap it meanwhile.
        let watched = if launched.parent == shim.me.pid { None } else { PidFd::open(launched.init).ok() };
        let parent = launch::handed_over(&launched.init, launched.parent, shim.me.pid, &reaper).await;
        let ended = if parent == shim.me.pid {
            let status = reaper.until(pid).await.context("cannot wait for the container")?;
            Ended { pid, status, cause: Cause::Exited }
        } else if let Some(pidfd) = watched {
            // The runtime keeps the container as its own child.
            watch_process(launched.init, pidfd, &reaper).await?
        } else {
            Ended { pid, status: ExitStatus::Unknown, cause: Cause::ShimLost }
        };
        ending::finish(shim, ended, pumps, &hub, &reaper, exit_fifo).await;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn adopt(shim: &Shim, answer: &mut Answer) -> anyhow::Result<ExitCode> {
    let init = pid_file::read(&shim.state.pid())?.context("there is no pid file: the container was never started")?;
    // Opened first: a FIFO whose last writer leaves while no descriptor is open loses its content.
    let io = stdio::reopen(&shim.process)?;
    let pidfd = match PidFd::open(init) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return save_output(shim, io, init),
        opened => opened.with_context(|| format!("cannot watch the process {}", init.pid))?,
    };
    let signals = Signals::block().context("cannot collect signals")?;
    let listener = stdio::listen_for_clients()?;
    let exit_fifo = stdio::open_exit_fifo();
    in_runtime(async {
        let (hub, reaper) = start_serving(shim, signals, listener)?;
        hub.log.borrow_mut().open();
        let pumps = match io {
            Some(ShimEnds::Fifos { stdin, stdout, stderr }) => {
                let stdin = stdin.filter(|_| !first_client_left(shim));
                connect(shim, Connected::Fifos { stdin, stdout, stderr }, &hub)?
            }
            // The terminal's master was closed when its shim died.
            Some(ShimEnds::Terminal { .. } | ShimEnds::Nothing) | None => {
                hub.refuse("the container's terminal was lost with the shim that held it");
                hub.input.absent();
                Pumps { tasks: Vec::new(), stop: watch::Sender::new(false) }
            }
        };
        report_ready(shim, init, answer, &hub);
        own_process::protect(&shim.process.cgroup_procs);
        let ended = watch_process(init, pidfd, &reaper).await?;
        ending::finish(shim, ended, pumps, &hub, &reaper, exit_fifo).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// For a container that ended while its shim was lost: logs the output left in the FIFOs. The exit itself is recorded
/// by the daemon; this always returns an error, since there is no process to adopt.
fn save_output(shim: &Shim, io: Option<ShimEnds>, init: ProcessRef) -> anyhow::Result<ExitCode> {
    let Some(ShimEnds::Fifos { stdout, stderr, .. }) = io else { anyhow::bail!("the process {} is gone", init.pid) };
    in_runtime(async {
        let hub = Hub::new(Log::of(&shim.process), Some(STALL_LIMIT));
        hub.log.borrow_mut().open();
        let pumps = connect(shim, Connected::Fifos { stdin: None, stdout, stderr }, &hub)?;
        ending::drain(pumps, &hub, SAVING, SAVING).await;
        hub.log.borrow().report();
        anyhow::bail!("the process {} is gone; what it wrote last is logged", init.pid)
    })
}

/// Whether the input had to end with the first client, whose connection was lost together with the shim.
fn first_client_left(shim: &Shim) -> bool {
    shim.process.stdin_once && shim.process.first_client
}

pub(crate) fn in_runtime(life: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the event loop")?;
    tokio::task::LocalSet::new().block_on(&runtime, life)
}

fn start_serving(shim: &Shim, signals: Signals, listener: UnixListener) -> anyhow::Result<(Rc<Hub>, Reaper)> {
    let reaper = Reaper::new(signals).context("cannot collect signals")?;
    let hub = Hub::new(Log::of(&shim.process), Some(STALL_LIMIT));
    let listener = tokio::net::UnixListener::from_std(listener).context("cannot serve the attach socket")?;
    spawn_local(client::accept(listener, hub.clone()));
    Ok((hub, reaper))
}

/// Writes the pid file, by which the container can be found again, then reports readiness.
fn announce(shim: &Shim, launched: Launched, answer: &mut Answer, hub: &Hub) -> Result<Launched, Failed> {
    pid_file::write(&shim.state.pid(), launched.init)
        .map_err(|error| runtime::failed(isulad_shim::Step::Setup, format!("{:#}", anyhow::Error::from(error))))?;
    failpoint::hit(failpoint::AFTER_PID_FILE);
    report_ready(shim, launched.init, answer, hub);
    failpoint::hit(failpoint::AFTER_READY);
    Ok(launched)
}

fn report_ready(shim: &Shim, init: ProcessRef, answer: &mut Answer, hub: &Hub) {
    let outcome = Outcome::Ready(Ready {
        pid: init.pid,
        pid_start: init.start_time,
        shim_pid: shim.me.pid,
        shim_start: shim.me.start_time,
        at: time::now(),
    });
    answer.send(&outcome);
    hub.set_outcome(outcome);
}

/// Removes everything a failed start has left, then reports the failure.
async fn undo(shim: &Shim, failed: Failed, answer: &mut Answer, hub: &Rc<Hub>, reaper: &Reaper) {
    eprintln!("isulad-shim: {} failed: {}", failed.step.as_str(), failed.message);
    runtime::delete(shim, InitState::Unknown, reaper).await;
    Reaper::kill_descendants(FAREWELL);
    ending::remove_files(shim);
    let outcome = Outcome::Failed(failed);
    answer.send(&outcome);
    hub.set_outcome(outcome);
    hub.farewell(FAREWELL).await;
}

fn connect(shim: &Shim, io: Connected, hub: &Rc<Hub>) -> anyhow::Result<Pumps> {
    let stop = watch::Sender::new(false);
    let (tasks, input) = match io {
        Connected::Fifos { stdin, stdout, stderr } => {
            let peek_pipe = PeekPipe::new().context("cannot make a pipe")?;
            let carry =
                |fd, stream| spawn_local(pump::fifo(fd, stream, hub.clone(), peek_pipe.clone(), stop.subscribe()));
            (vec![carry(stdout, Stream::Stdout), carry(stderr, Stream::Stderr)], stdin)
        }
        Connected::Terminal { master } => {
            hub.input.set_terminal(master.try_clone().context("cannot duplicate the terminal")?);
            let input = match shim.process.open_stdin {
                true => Some(master.try_clone().context("cannot duplicate the terminal")?),
                false => None,
            };
            (vec![spawn_local(screen::carry(master, hub.clone(), stop.subscribe()))], input)
        }
        Connected::Nothing => (Vec::new(), None),
    };
    match input {
        Some(fd) => {
            hub.input.open(shim.process.stdin_once);
            spawn_local(input::carry(fd, hub.clone()));
        }
        None => hub.input.absent(),
    }
    Ok(Pumps { tasks, stop })
}

/// Waits for a process that is not a child of this shim, and asks the kernel for its exit status. Its parent has to
/// reap it first; the pidfd hangs up after that.
async fn watch_process(init: ProcessRef, pidfd: PidFd, reaper: &Reaper) -> anyhow::Result<Ended> {
    let pidfd = readable::watch(pidfd).context("cannot watch the container")?;
    let status = tokio::select! {
        status = async {
            drop(pidfd.readable().await?);
            Ok(tokio::time::timeout(REAP_LIMIT, status_of(&pidfd)).await.unwrap_or(None))
        } => status,
        error = reaper.forever() => Err(error),
    };
    let status = status.context("cannot watch the container")?;
    let (status, cause) = match status {
        Some(status) => (status, Cause::Adopted),
        None => (ExitStatus::Unknown, Cause::ShimLost),
    };
    Ok(Ended { pid: init.pid, status, cause })
}

async fn status_of(pidfd: &AsyncFd<PidFd>) -> Option<ExitStatus> {
    loop {
        let mut guard = pidfd.readable().await.ok()?;
        match guard.get_inner().exit_info().ok()? {
            ExitInfo::Known(status) => return Some(status),
            ExitInfo::Unsupported => return None,
            ExitInfo::NotYet => guard.clear_ready(),
        }
    }
}
