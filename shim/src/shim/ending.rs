//! What is left to do when the container's first process is gone, in the order that keeps the promise: no output lost,
//! the status durable before anybody hears of it, nothing left behind.

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
use super::runtime::{self, Left};

/// How long silent writers are waited for. Only a shared pid namespace, or a descriptor that was passed out of the
/// container, leaves any.
const SILENCE: Duration = Duration::from_millis(500);
/// How long writers that go on writing are listened to.
const DRAIN_SHARED: Duration = Duration::from_secs(3);
const DRAIN_OWN: Duration = Duration::from_secs(10);
/// How long clients may take for what is outstanding. The exit is known and the runtime's traces are gone by then; what
/// waits is the next start in this state directory.
const FAREWELL: Duration = Duration::from_secs(5);

/// The tasks that carry output, and how to tell them that nothing more is waited for.
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
    keep(shim, &record);
    failpoint::hit(failpoint::AFTER_EXIT_RECORD);
    if let Some(fifo) = &exit_fifo {
        // Nobody may be reading: the record is there for whoever comes.
        let _ = rustix::io::write(fifo, &ended.status.to_wire());
    }
    failpoint::hit(failpoint::AFTER_EXIT_FIFO);
    hub.set_exit(ended.status, None);
    runtime::delete(shim, Left::Ended, reaper).await;
    failpoint::hit(failpoint::AFTER_DELETE);
    hub.farewell(FAREWELL).await;
    remove_files(shim);
    hub.log.borrow().report();
    // Its hang-up says that we touch nothing any more, so it is the end of this process that closes it.
    exit_fifo.map(IntoRawFd::into_raw_fd);
}

/// Writes the record where it survives the host, or else at least where it survives the daemon and us.
fn keep(shim: &Shim, record: &ExitRecord) {
    let Err(error) = record.write(&shim.process.exit_record) else { return };
    eprintln!("isulad-shim: {:#}", anyhow::Error::from(error));
    if let Err(error) = record.write(&shim.state.exit_fallback()) {
        // The daemon, if it listens, still hears the status.
        eprintln!("isulad-shim: {:#}", anyhow::Error::from(error));
    }
}

/// Removes what this shim made, except its and the container's pid, its log and an exit record.
pub(crate) fn remove_files(shim: &Shim) {
    use state_dir::*;
    for name in [STDIN, STDOUT, STDERR, ATTACH_SOCKET, CONSOLE_SOCKET, RUNTIME_PID, RUNTIME_LOG] {
        if let Err(error) = shim.state.remove(name) {
            eprintln!("isulad-shim: cannot remove `{name}`: {error}");
        }
    }
}

/// Carries what is left: until every writer is gone, or was silent for `silence`, or for `limit`.
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
                // Who writes without end would keep us busy until the last client has left.
                task.abort();
            }
        }
    }
}
