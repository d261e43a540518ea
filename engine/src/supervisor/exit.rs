//! The end of a run: read from its exit record or from the kernel, and reported to the container's aggregate.

use isulad_shim::ExitRecord;
use isulad_shim::sys::pidfd::PidFd;

use super::{OrphanHold, Supervisor};
use crate::cancel;
use crate::cause::chain;
use crate::clock;
use crate::domain::container::{Command, Container, ExitStatus, RecordedExit};
use crate::domain::id::{ContainerId, StartId};
use crate::failpoint;
use crate::journal::record::Context;
use crate::shim_process::to_recorded_exit;

impl Supervisor {
    /// Reports an end that has no exit record.
    pub(crate) async fn report_status(&self, id: ContainerId, start: StartId, status: ExitStatus, context: &Context) {
        // Without an exit record the cgroup's counter may still show an OOM kill.
        let oom = match self.containers.get(&id) {
            Some(entity) => self.oom.has_killed(entity).await,
            None => false,
        };
        let exit = Command::ReportExit { start, status, at: clock::now(), oom, boot: self.node.boot };
        self.containers.report(&id, context, exit).await;
    }

    /// Records the loss of the shim and puts an [`OrphanHold`] aside for its adoption; dropped again when the run has
    /// ended meanwhile.
    pub(crate) async fn shim_lost(&self, id: ContainerId, start: StartId, pidfd: Option<PidFd>, context: &Context) {
        let Some(entity) = self.containers.get(&id) else { return };
        let hold = OrphanHold::with_pidfd(pidfd, &self.node.state_dir(&entity.state));
        self.put_orphan(id, start, hold);
        tracing::warn!(container_id = %id.short(), "the shim is lost");
        self.containers.report_recorded(&id, context, Command::ReportShimLost { start }).await;
        failpoint::hit(failpoint::SHIM_LOST_RECORDED);
        // A run that has ended meanwhile is not adopted, so its hold would stay for ever.
        let run = self.containers.get(&id).and_then(|entity| entity.state.phase.run().cloned());
        if run.is_none_or(|run| run.start != start) {
            drop(self.take_orphan(&id, start));
        }
    }

    pub(crate) async fn report_exit(&self, id: ContainerId, context: &Context, found: &RecordedExit) {
        let exit = Command::ReportExit {
            start: found.start,
            status: found.status,
            at: found.at,
            oom: found.oom,
            boot: self.node.boot,
        };
        self.containers.report(&id, context, exit).await;
    }

    /// The exit record of this start, if there is one: beside the bundle, or where a shim that met a full disk put it.
    /// An unreadable one is warned of and counts as none.
    pub(crate) async fn exit_record(&self, container: &Container, start: StartId) -> Option<RecordedExit> {
        let bundle = self.node.bundle(container);
        let places = [bundle.exit_record(), self.node.state_dir(container).exit_fallback()];
        let read = cancel::blocking(move |_| places.map(|path| ExitRecord::read(&path)));
        for record in read.await.ok()? {
            match record {
                Ok(Some(record)) if StartId(record.start) == start => return Some(to_recorded_exit(record)),
                Ok(_) => {}
                Err(error) => self.node.warn(format!("container {}: {}", container.id.short(), chain(&error))),
            }
        }
        None
    }
}
