//! Reports of the world, which nothing may lose: recorded in their order per aggregate, and retried while the disk is full.

use std::time::Duration;

use store::AppendError;

use super::{Ledger, Recorded, TurnError};
use crate::cause::chain;
use crate::journal::record::Context;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl<A: Recorded> Ledger<A> {
    /// Records it before anything that is reported of this aggregate later. One that finds the disk full waits for room in the
    /// background, and the caller goes on. A journal that has failed stops the daemon elsewhere.
    pub async fn report(&self, id: &A::Id, context: &Context, command: A::Command) {
        let Some(entry) = self.get(id) else { return };
        let place = entry.report_place().await;
        // An entry held through a long wait would keep an old state in memory.
        drop(entry);
        if !self.try_report(id, context, &command).await {
            let (ledger, id, context) = (self.clone(), id.clone(), context.clone());
            tokio::spawn(async move {
                ledger.insist(&id, &context, &command).await;
                drop(place);
            });
        }
    }

    /// The same for a caller whose next step depends on what the report has led to: it waits until that is recorded.
    pub async fn report_recorded(&self, id: &A::Id, context: &Context, command: A::Command) {
        let Some(entry) = self.get(id) else { return };
        let _place = entry.report_place().await;
        drop(entry);
        if !self.try_report(id, context, &command).await {
            self.insist(id, context, &command).await;
        }
    }

    async fn insist(&self, id: &A::Id, context: &Context, command: &A::Command) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            if self.try_report(id, context, command).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `false` when it is worth another attempt.
    async fn try_report(&self, id: &A::Id, context: &Context, command: &A::Command) -> bool {
        // In a box: a watcher of a container lives for long and may never report.
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
