//! The processes of a running container: the cgroup lists them, ps(1) of the host describes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ps::{self, PsError};
use super::{READ_DEADLINE, Usage, processes};
use crate::domain::container::Rejection;
use crate::domain::id::ContainerId;

/// The titles, and as many cells in each row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TopError {
    #[error("the container does not run")]
    Rejected(Rejection),
    #[error("the container's cgroup is gone")]
    NoGroup,
    #[error("the processes could not be read within {} s", READ_DEADLINE.as_secs())]
    Slow,
    #[error(transparent)]
    Ps(#[from] PsError),
}

/// A container without processes has ended, also where its exit is not recorded yet.
fn refuse_ended(pids: &BTreeSet<i32>) -> Result<(), TopError> {
    if pids.is_empty() { Err(TopError::Rejected(Rejection::NotRunning)) } else { Ok(()) }
}

impl Usage {
    /// The output of `ps` with these options for the container's processes; none are `-ef`, which needs no ps on the
    /// host.
    pub(crate) async fn top(self: &Arc<Self>, id: ContainerId, options: &[String]) -> Result<Table, TopError> {
        ps::check(options)?;
        let before = self.pids(id).await?;
        let table = match ps::run(options).await {
            Err(PsError::Missing) if options.is_empty() => {
                refuse_ended(&before)?;
                let reading = self.read(move || processes::list(&before));
                return reading.await.ok_or(TopError::Slow);
            }
            other => other?,
        };
        // A pid that was the container's both before and after the listing was the container's during it.
        let after = self.pids(id).await?;
        let both: BTreeSet<i32> = before.intersection(&after).copied().collect();
        refuse_ended(&both)?;
        Ok(table.of(&both)?)
    }

    /// The container's processes now.
    async fn pids(self: &Arc<Self>, id: ContainerId) -> Result<BTreeSet<i32>, TopError> {
        let entity = self.containers.get(&id).ok_or(TopError::Rejected(Rejection::NoSuchContainer))?;
        if entity.state.phase.run().is_none() {
            return Err(TopError::Rejected(Rejection::NotRunning));
        }
        let usage = self.clone();
        let reading = self.read(move || {
            let group = usage.containers.group(&entity.state)?;
            usage.node.host.cgroups.processes(&group).ok().map(BTreeSet::from_iter)
        });
        reading.await.ok_or(TopError::Slow)?.ok_or(TopError::NoGroup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_processes_does_not_run() {
        assert!(matches!(refuse_ended(&BTreeSet::new()), Err(TopError::Rejected(Rejection::NotRunning))));
        assert!(refuse_ended(&BTreeSet::from([7])).is_ok());
    }
}
