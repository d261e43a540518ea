//! Commands of users: queued per aggregate, and held back while an operation is pending.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Ledger, Queue, Recorded, TurnError, TurnOutcome};
use crate::domain::aggregate::Queued;
use crate::journal::record::Context;

/// How long a command waits for its place in the queue and for a pending operation before it is refused.
const PATIENCE: Duration = Duration::from_secs(150);

impl<A: Recorded + Queued> Ledger<A> {
    /// Waits for a place in the queue, for recovery, and for a pending operation, then takes its turn: see
    /// [`Self::turn_all`]. `commands` are made anew for each attempt, since they carry the time.
    pub(crate) async fn ask(
        &self,
        queue: Queue,
        id: &A::Id,
        context: &Context,
        commands: impl Fn() -> Vec<A::Command>,
    ) -> Result<TurnOutcome<A>, TurnError<A::Rejection>> {
        let Some(entry) = self.get(id) else { return Err(TurnError::Rejected(A::unknown())) };
        let deadline = Instant::now() + PATIENCE;
        let busy = || TurnError::Rejected(A::in_transition());
        // The deadline bounds the waiting alone: a turn that was begun is finished, since it may have been recorded.
        let _place = timeout_at(deadline, entry.place(queue)).await.map_err(|_| busy())?;
        // Before recovery has compared the aggregate with the world, a command would race with recovery's own.
        timeout_at(deadline, self.verified(id)).await.map_err(|_| busy())?;
        loop {
            let version = self.get(id).map_or(0, |entry| entry.state.version());
            match self.turn_all(id, context, &commands()).await {
                Err(TurnError::Rejected(rejection)) if A::is_in_transition(&rejection) => {
                    timeout_at(deadline, self.changed_since(id, version)).await.map_err(|_| busy())?;
                }
                settled => return settled,
            }
        }
    }
}
