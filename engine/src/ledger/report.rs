//! Reports of the world, none of which may be lost: recorded in order per aggregate, and retried while the disk is
//! full.

use std::time::Duration;

use store::AppendError;

use super::{Ledger, Recorded, TurnError};
use crate::cause::chain;
use crate::journal::record::Context;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl<A: Recorded> Ledger<A> {
    /// Records the report before any later one of this aggregate. On a full disk it waits for room in the background,
    /// and the caller goes on. A failed journal stops the daemon elsewhere.
    pub(crate) async fn report(&self, id: &A::Id, context: &Context, command: A::Command) {
        let Some(entry) = self.get(id) else { return };
        let place = entry.report_place().await;
        // An entry held through a long wait would keep an old state in memory.
        drop(entry);
        if !self.try_report(id, context, &command).await {
            let (ledger, id, context) = (self.clone(), id.clone(), context.clone());
            tokio::spawn(async move {
                ledger.retry_report(&id, &context, &command).await;
                drop(place);
            });
        }
    }

    /// The same for a caller with a next step that depends on the report's outcome: waits until it is recorded.
    pub(crate) async fn report_recorded(&self, id: &A::Id, context: &Context, command: A::Command) {
        let Some(entry) = self.get(id) else { return };
        let _place = entry.report_place().await;
        drop(entry);
        if !self.try_report(id, context, &command).await {
            self.retry_report(id, context, &command).await;
        }
    }

    async fn retry_report(&self, id: &A::Id, context: &Context, command: &A::Command) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            if self.try_report(id, context, command).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `false` when it has to be retried.
    async fn try_report(&self, id: &A::Id, context: &Context, command: &A::Command) -> bool {
        // Boxed: a container's watcher lives for long and may never report.
        match Box::pin(self.turn(id, context, command)).await {
            Ok(_) => true,
            Err(TurnError::Journal(error @ (AppendError::DiskFull { .. } | AppendError::Conflict { .. }))) => {
                let (noun, id) = (A::NOUN, A::short(id));
                self.0.warnings.add(format!("{noun} {id}: a report waits for the journal: {error}"));
                false
            }
            Err(error) => {
                let (id, error) = (A::short(id), chain(&error));
                tracing::error!(of = A::NOUN, id, error, ?command, "a report could not be recorded");
                true
            }
        }
    }
}
