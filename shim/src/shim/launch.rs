//! From a prepared shim to a running container, or to nothing at all.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use isulad_shim::process::ConsoleSize;
use isulad_shim::sys::process_ref::Stat;
use isulad_shim::{Failed, ProcessRef, StateDir, Step, failpoint, state_dir};

use super::Shim;
use super::reaper::Reaper;
use super::runtime::{Call, failed};
use super::stdio::{self, Ours, Theirs};

/// The runtime at work on `run`.
pub(crate) struct Launching<'a> {
    shim: &'a Shim,
    call: Call<'a>,
    runtime: i32,
    ours: Ours,
}

/// A container that runs or has run.
pub(crate) struct Launched {
    pub init: ProcessRef,
    /// Its parent: this shim, unless the runtime kept it.
    pub parent: i32,
    pub io: Connected,
}

/// The container's streams, ready to be carried.
pub(crate) enum Connected {
    Fifos { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal { master: OwnedFd },
    Nothing,
}

impl<'a> Launching<'a> {
    /// Starts the runtime. The container's ends are ours no longer afterwards.
    pub fn begin(shim: &'a Shim, theirs: Theirs, ours: Ours) -> Result<Self, Failed> {
        let console = matches!(ours, Ours::Terminal { .. }).then(|| stdio::console_path(&shim.state));
        let call = Call::run(shim, console);
        failpoint::hit(failpoint::BEFORE_RUNTIME);
        let runtime = call.spawn(theirs.as_stdio())?;
        Ok(Self { shim, call, runtime, ours })
    }

    /// Waits for the runtime and finds the container's first process.
    pub async fn finish(self, reaper: &Reaper) -> Result<Launched, Failed> {
        let Self { shim, call, runtime, ours } = self;
        call.wait(runtime, reaper, || ours.leftover()).await?;
        failpoint::hit(failpoint::AFTER_LAUNCH);
        find(&shim.state, ours, shim.process.console_size).map_err(|error| failed(Step::Run, format!("{error:#}")))
    }
}

/// The process that the runtime, which has left, has started.
pub(crate) fn find(state: &StateDir, ours: Ours, console_size: Option<ConsoleSize>) -> anyhow::Result<Launched> {
    let path = state.file(state_dir::RUNTIME_PID);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the runtime's pid file `{}`", path.display()))?;
    let pid = text.trim().parse().with_context(|| format!("the runtime's pid file holds `{text}`"))?;
    // It may have ended already: nobody has reaped it, so /proc still tells.
    let stat = Stat::read(pid).with_context(|| format!("cannot read the facts of process {pid}"))?;
    let io = match ours {
        Ours::Fifos { stdin, stdout, stderr } => Connected::Fifos { stdin, stdout, stderr },
        Ours::Terminal { console, complaints: _ } => {
            let master = stdio::receive_console(&console, console_size)?;
            Connected::Terminal { master }
        }
        Ours::Nothing => Connected::Nothing,
    };
    Ok(Launched { init: ProcessRef { pid, start_time: stat.start_time }, parent: stat.parent, io })
}

/// How long a helper of the runtime may outlive it. Only runtimes that keep the container as their own child take all of it.
const HANDOVER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until the container's process is this shim's child, which it becomes when the runtime's last process has ended. Gives
/// its parent: another one's child can only be watched, not waited for.
pub(crate) async fn handed_over(init: &ProcessRef, parent: i32, me: i32) -> i32 {
    let end = tokio::time::Instant::now() + HANDOVER;
    let mut parent = parent;
    while parent != me && tokio::time::Instant::now() < end {
        tokio::time::sleep(PAUSE).await;
        match Stat::read(init.pid) {
            Ok(stat) if stat.start_time == init.start_time => parent = stat.parent,
            // It has ended, and another process has reaped it.
            Ok(_) | Err(_) => break,
        }
    }
    parent
}
