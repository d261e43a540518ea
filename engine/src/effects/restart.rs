//! The wait before a start by the restart policy. It ends on time also when the daemon was away for a part of it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::domain::container::Command;
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::{Actor, Context};

/// No policy waits longer: a clock that was set back must not add to the wait.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) async fn restart_timer(effects: &Arc<ContainerEffects>, id: ContainerId, start: StartId, due: Timestamp) {
    failpoint::hit(failpoint::RESTART_SCHEDULED);
    let left = Duration::from_nanos(due.0.saturating_sub(clock::now().0));
    tokio::time::sleep(left.min(LONGEST)).await;
    failpoint::hit(failpoint::RESTART_DUE);
    // A stopping daemon would begin a start and not finish it: the next daemon waits for the rest of the time.
    if effects.queues.stopped() {
        return;
    }
    let context = Context::new(Actor::RestartPolicy);
    // After a user's command that came first, the report is stale and changes nothing.
    effects
        .containers
        .report(&id, &context, Command::RestartDue { start, boot: effects.node.boot, at: clock::now() })
        .await;
}
