//! Recovery of execs that an earlier daemon has left: attached ones are about to end with its sockets, detached ones
//! run on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use isulad_shim::exec::{GO_MARKER, RELEASED};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{ExecProcess, ProcessRef, StateDir, state_dir};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Execs;
use super::keep::{self, DIRECTORY, ExecRef, PROBE};
use crate::cancel;
use crate::clock;
use crate::domain::container::{Cause, Command, Container, ExitStatus};
use crate::domain::id::SessionId;
use crate::journal::recent::{ExecRecord, Recent};
use crate::journal::record::{Actor, Context};
use crate::shim_process;
use crate::sys;

/// How long a shim may take to kill its process and to leave, before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two checks whether a shim has run its process.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Execs {
    /// Watches the execs that run on, and waits for the end of the others. Before anything else of the container's
    /// recovery, which may clear its state directory.
    pub(crate) async fn recover(self: &Arc<Self>, container: &Container, recent: &Recent) {
        let mut open: HashMap<_, _> = recent.open_execs(&container.id, self.node.boot).into_iter().collect();
        let mut tasks = JoinSet::new();
        let parent = self.node.state_dir(container).file(DIRECTORY);
        let entries = match std::fs::read_dir(&parent).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![],
            // The execs may still run, so no end is recorded.
            Err(error) => {
                let (id, path) = (container.id.short(), parent.display());
                return self
                    .node
                    .warn(format!("container {id}: its execs are not recovered: cannot list `{path}`: {error}"));
            }
        };
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let (id, probe) = name.strip_prefix(PROBE).map_or((name, false), |id| (id, true));
            let Ok(exec) = id.parse::<SessionId>() else { continue };
            let directory = StateDir::new(entry.path());
            // The exec ended with the last boot, and its pids may be other processes' now: its end is recorded below,
            // and no process is looked for.
            if open.get(&exec) == Some(&false) {
                let execs = self.clone();
                tasks.spawn_blocking(move || keep::clear(&execs, &directory));
                continue;
            }
            open.remove(&exec);
            let described = ExecProcess::read(&directory).is_ok_and(|process| process.detached);
            let detached = described || directory.file(RELEASED).exists();
            let target = ExecRef { container: container.id, exec, directory, detached };
            let recorded = !probe && wants_end(recent.exec(&exec), &target.directory);
            let (execs, runs) = (self.clone(), container.phase.run().is_some());
            tasks.spawn(async move { recover_one(&execs, target, recorded, runs).await });
        }
        while tasks.join_next().await.is_some() {}
        // The directories of these went with the boot, or were removed by force: nothing is left that shows how they
        // ended.
        for (exec, this_boot) in open {
            let cause = if this_boot { Cause::ShimAndProcessLost } else { Cause::HostReboot };
            let status = ExitStatus::Unknown(cause);
            let exited = Command::ReportExecExited { exec, status, at: clock::now(), lasted_ms: 0 };
            self.containers.report_recorded(&container.id, &Context::new(Actor::Recovery), exited).await;
        }
    }
}

/// Whether the journal still needs the end of an exec that has a directory.
fn wants_end(begun: ExecRecord, directory: &StateDir) -> bool {
    match begun {
        ExecRecord::Open | ExecRecord::Unknown => true,
        ExecRecord::Ended => false,
        // An exec that was run had been recorded before, however long ago.
        ExecRecord::Never => was_run(directory),
    }
}

async fn recover_one(execs: &Arc<Execs>, target: ExecRef, recorded: bool, runs: bool) {
    let shim = {
        let directory = target.directory.clone();
        let looking = cancel::blocking(move |_| shim_process::living_shims(&directory));
        looking.await.ok().and_then(|found| found.ok()?.into_iter().next())
    };
    if let Some(shim) = shim
        && !(target.detached && runs && was_run(&target.directory))
    {
        await_shim_end(execs, &target, shim, runs).await;
    }
    tracing::info!(container_id = %target.container.short(), exec = %target.exec, recorded, "recovering an exec");
    let (sender, is_recorded) = oneshot::channel();
    let _ = sender.send(recorded);
    let (done, finished) = oneshot::channel();
    let lives = shim.is_some_and(|shim| shim.alive());
    keep::keep(execs, target, None, is_recorded, done);
    if !lives {
        let _ = tokio::time::timeout(PATIENCE, finished).await;
    }
}

/// Waits for the end of a shim without a client: it kills its process and leaves. A detached one that got its `Go` in
/// the last moment stays.
async fn await_shim_end(execs: &Arc<Execs>, target: &ExecRef, shim: ProcessRef, runs: bool) {
    let Ok(pidfd) = PidFd::open(shim) else { return };
    let waiting = async {
        let watched = sys::watch(std::os::fd::AsFd::as_fd(&pidfd).try_clone_to_owned()?)?;
        watched.readable().await.map(drop)
    };
    let staying = async {
        while !(target.detached && runs && was_run(&target.directory)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let settled = async {
        tokio::select! {
            _ = waiting => {}
            () = staying => {}
        }
    };
    if tokio::time::timeout(PATIENCE, settled).await.is_err() {
        execs.node.warn(format!(
            "container {}: the shim of exec {} does not leave and is killed",
            target.container.short(),
            target.exec
        ));
        let _ = pidfd.send_signal(9);
    }
}

/// Whether the shim got its `Go`: from then on the exec is recorded.
fn was_run(directory: &StateDir) -> bool {
    [GO_MARKER, state_dir::EXIT_FALLBACK, state_dir::PID].iter().any(|name| directory.file(name).exists())
}
