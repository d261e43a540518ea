//! Runs the runtime's `run` to its end and finds the container's first process.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use isulad_shim::process::ConsoleSize;
use isulad_shim::sys::process_ref::Stat;
use isulad_shim::{Failed, ProcessRef, StateDir, Step, failpoint, state_dir};
use tokio::time::{Instant, sleep};

use super::Shim;
use super::reaper::Reaper;
use super::runtime::{Call, failed};
use super::stdio::{self, RuntimeEnds, ShimEnds};

/// A `run` of the runtime that is in progress.
pub(crate) struct Launching<'a> {
    shim: &'a Shim,
    call: Call<'a>,
    runtime: i32,
    shim_ends: ShimEnds,
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
    /// Starts the runtime and closes the container's ends of the streams in this process.
    pub(super) fn begin(shim: &'a Shim, runtime_ends: RuntimeEnds, shim_ends: ShimEnds) -> Result<Self, Failed> {
        let console = matches!(shim_ends, ShimEnds::Terminal { .. }).then(|| stdio::console_path(&shim.state));
        let call = Call::run(shim, console);
        failpoint::hit(failpoint::BEFORE_RUNTIME);
        let runtime = call.spawn(runtime_ends.as_stdio())?;
        Ok(Self { shim, call, runtime, shim_ends })
    }

    /// Waits for the runtime and finds the container's first process.
    pub(super) async fn finish(self, reaper: &Reaper) -> Result<Launched, Failed> {
        let Self { shim, call, runtime, shim_ends } = self;
        call.wait(runtime, reaper, || shim_ends.stderr_text()).await?;
        failpoint::hit(failpoint::AFTER_LAUNCH);
        find(&shim.state, shim_ends, shim.process.console_size).map_err(|error| failed(Step::Run, format!("{error:#}")))
    }
}

/// Finds the process that the runtime has started. The runtime has exited.
pub(crate) fn find(
    state: &StateDir,
    shim_ends: ShimEnds,
    console_size: Option<ConsoleSize>,
) -> anyhow::Result<Launched> {
    let path = state.file(state_dir::RUNTIME_PID);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the runtime's pid file `{}`", path.display()))?;
    let pid = text.trim().parse().with_context(|| format!("the runtime's pid file holds `{text}`"))?;
    // The process may have ended already, but it is not reaped, so /proc still has it.
    let stat = Stat::read(pid).with_context(|| format!("cannot read the facts of process {pid}"))?;
    let io = match shim_ends {
        ShimEnds::Fifos { stdin, stdout, stderr } => Connected::Fifos { stdin, stdout, stderr },
        ShimEnds::Terminal { console, runtime_stderr: _ } => {
            let master = stdio::receive_console(&console, console_size)?;
            Connected::Terminal { master }
        }
        ShimEnds::Nothing => Connected::Nothing,
    };
    Ok(Launched { init: ProcessRef { pid, start_time: stat.start_time }, parent: stat.parent, io })
}

/// How long a helper of the runtime may outlive it. Only runtimes that keep the container as their own child take all
/// of it.
const HANDOVER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until the container's process is this shim's child, which it becomes when the runtime's last process has
/// ended. Gives its parent: another one's child can only be watched, not waited for. `reaper` receives signals
/// meanwhile.
pub(crate) async fn handed_over(init: &ProcessRef, parent: i32, me: i32, reaper: &Reaper) -> i32 {
    if parent == me {
        return parent;
    }
    tokio::select! {
        parent = adopted(init, parent, me) => parent,
        // Without signals the end of the process cannot be waited for either; the caller finds the same error.
        _error = reaper.listen() => parent,
    }
}

async fn adopted(init: &ProcessRef, mut parent: i32, me: i32) -> i32 {
    let end = Instant::now() + HANDOVER;
    while parent != me && Instant::now() < end {
        sleep(PAUSE).await;
        match Stat::read(init.pid) {
            Ok(stat) if stat.start_time == init.start_time => parent = stat.parent,
            // It has ended, and another process has reaped it.
            Ok(_) | Err(_) => break,
        }
    }
    parent
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;
    use crate::shim::reaper::Signals;

    #[tokio::test]
    async fn sigterm_is_noticed_while_the_process_is_handed_over() {
        let reaper = Reaper::with_sigterm(Signals::block().unwrap()).unwrap();
        // Process 1 never becomes a child of this one.
        let init = ProcessRef::of(1).unwrap();
        raise(Signal::SIGTERM).unwrap();
        tokio::select! {
            _parent = handed_over(&init, 0, i32::MAX, &reaper) => panic!("SIGTERM came during the wait"),
            () = reaper.sigterm() => {}
        }
    }
}
