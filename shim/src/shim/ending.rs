//! The end of a container's shim, after the container's first process has ended. The order keeps three promises: no
//! output is lost, the status is durable before it is reported, nothing is left behind.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use isulad_shim::process::PidNamespace;
use isulad_shim::{Cause, ExitRecord, ExitStatus, failpoint, state_dir};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Shim;
use super::output::hub::Hub;
use super::output::time;
use super::reaper::Reaper;
use super::runtime::{self, InitState};

/// How long silent writers are waited for. Writers remain only in a shared pid namespace, or where a descriptor was
/// passed out of the container.
const SILENCE: Duration = Duration::from_millis(500);
/// How long the output of writers that go on writing is read.
const DRAIN_SHARED: Duration = Duration::from_secs(3);
const DRAIN_OWN: Duration = Duration::from_secs(10);
/// How long clients may take to read outstanding frames. The exit is reported and the container deleted from the
/// runtime by then; only the next start in this state directory waits for this.
const FAREWELL: Duration = Duration::from_secs(5);

/// The tasks that carry output, and the order to stop waiting for more.
pub(crate) struct Pumps {
    pub tasks: Vec<JoinHandle<()>>,
    pub stop: watch::Sender<bool>,
}

pub(crate) struct Ended {
    pub pid: i32,
    pub status: ExitStatus,
    pub cause: Cause,
}

pub(crate) async fn finish(
    shim: &Shim,
    ended: Ended,
    pumps: Pumps,
    hub: &Rc<Hub>,
    reaper: &Reaper,
    exit_fifo: Option<OwnedFd>,
) {
    let at = time::now();
    let limit = match shim.process.pid_namespace {
        PidNamespace::Own => DRAIN_OWN,
        PidNamespace::Shared => DRAIN_SHARED,
    };
    drain(pumps, hub, SILENCE, limit).await;
    let record = ExitRecord {
        start: shim.process.start,
        status: ended.status,
        at,
        oom: shim.process.oom.as_ref().and_then(|counter| counter.read()).is_some_and(|kills| kills > 0),
        pid: ended.pid,
        cause: ended.cause,
    };
    failpoint::hit(failpoint::BEFORE_EXIT_RECORD);
    write_record(shim, &record);
    failpoint::hit(failpoint::AFTER_EXIT_RECORD);
    if let Some(fifo) = &exit_fifo {
        // The fifo may have no reader: a daemon that starts later finds the record.
        let _ = rustix::io::write(fifo, &ended.status.to_wire());
    }
    failpoint::hit(failpoint::AFTER_EXIT_FIFO);
    hub.set_exit(ended.status, None);
    runtime::delete(shim, InitState::Ended, reaper).await;
    failpoint::hit(failpoint::AFTER_DELETE);
    hub.farewell(FAREWELL).await;
    remove_files(shim);
    hub.log.borrow().report();
    // The fifo stays open until this process ends: its hang-up means that the shim touches nothing any more.
    exit_fifo.map(IntoRawFd::into_raw_fd);
}

/// Writes the record to durable storage, or else to the state directory, where it outlives the daemon and the shim.
fn write_record(shim: &Shim, record: &ExitRecord) {
    let Err(error) = record.write(&shim.process.exit_record) else { return };
    eprintln!("isulad-shim: {:#}", anyhow::Error::from(error));
    if let Err(error) = record.write(&shim.state.exit_fallback()) {
        // A daemon that reads `exit_fifo` still gets the status.
        eprintln!("isulad-shim: {:#}", anyhow::Error::from(error));
    }
}

/// Removes the files of this shim, except its own and the container's pid, its log and an exit record.
pub(crate) fn remove_files(shim: &Shim) {
    use state_dir::*;
    for name in [STDIN, STDOUT, STDERR, ATTACH_SOCKET, CONSOLE_SOCKET, RUNTIME_PID, RUNTIME_LOG] {
        if let Err(error) = shim.state.remove(name) {
            eprintln!("isulad-shim: cannot remove `{name}`: {error}");
        }
    }
}

/// Carries the output that is left until every writer is gone or was silent for `silence`, at most for `limit`.
pub(crate) async fn drain(pumps: Pumps, hub: &Rc<Hub>, silence: Duration, limit: Duration) {
    hub.begin_ending();
    let end = Instant::now() + limit;
    let Pumps { mut tasks, stop } = pumps;
    while let Some(task) = tasks.last_mut() {
        let patience = end.min(hub.last_output() + silence);
        match tokio::time::timeout_at(patience, task).await {
            Ok(_) => drop(tasks.pop()),
            Err(_) if Instant::now() >= end.min(hub.last_output() + silence) => break,
            Err(_) => {}
        }
    }
    if !tasks.is_empty() {
        stop.send_replace(true);
        for mut task in tasks {
            if tokio::time::timeout(silence, &mut task).await.is_err() {
                // A writer without end would keep the shim busy until the last client has left.
                task.abort();
            }
        }
    }
}
