//! Subscriptions: they follow the journal from any point in its history into the present.

use crate::history::Request;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::{Gap, ReadError, Record, Seq};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// The largest number of records returned at once.
const PORTION: usize = 256;

/// The next part of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionItem {
    /// Events with consecutive numbers, at least one.
    Records(Vec<Record>),
    /// Numbers that have no event, although retention has left them.
    Gap(Gap),
}

/// A cursor into the journal. It delays nothing: a slow subscriber reads from the disk, a fast one from memory.
pub struct Subscription {
    shared: Arc<Shared>,
    requests: Arc<Queue<Request>>,
    last: watch::Receiver<Seq>,
    next: Seq,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, requests: Arc<Queue<Request>>, from: Seq) -> Self {
        let last = shared.last.subscribe();
        Self { shared, requests, last, next: from.max(1) }
    }

    /// The next event this subscription will return, unless it was pruned.
    pub fn position(&self) -> Seq {
        self.next
    }

    /// The next events or the gap before them, waiting for either; `None` once the journal is closed. After an error
    /// the same events are tried again. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<SubscriptionItem, ReadError>> {
        loop {
            let last = *self.last.borrow_and_update();
            let closed = *self.shared.closed.borrow();
            if self.next <= last {
                let records = match self.shared.recent(self.next, PORTION) {
                    Some(records) => Ok(records),
                    None => self.stored().await?,
                };
                match records {
                    Err(error) => return Some(Err(error)),
                    Ok(records) => {
                        if let Some(followed) = self.advance(records, last) {
                            return Some(Ok(followed));
                        }
                    }
                }
            } else if closed {
                return None;
            } else if let Some(cause) = self.shared.fault() {
                return Some(Err(ReadError::Failed { cause }));
            } else {
                // The sender is in `shared`, so it cannot be dropped.
                self.last.changed().await.ok()?;
            }
        }
    }

    /// Advances past the events up to the first missing one, or past the missing ones.
    fn advance(&mut self, mut records: Vec<Record>, last: Seq) -> Option<SubscriptionItem> {
        let first = records.first().map_or(last + 1, |record| record.seq);
        if first > self.next {
            let gap = self.shared.gap(self.next, first - 1);
            // The events behind the gap are read again.
            self.next = first;
            return gap.map(SubscriptionItem::Gap);
        }
        let consecutive = records.iter().zip(first..).take_while(|(record, seq)| record.seq == *seq).count();
        records.truncate(consecutive);
        self.next = records.last()?.seq + 1;
        Some(SubscriptionItem::Records(records))
    }

    async fn stored(&self) -> Option<Result<Vec<Record>, ReadError>> {
        let (reply, answer) = oneshot::channel();
        self.requests.push(Request::Read { from: self.next, limit: PORTION, reply }).ok()?;
        answer.await.ok()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("next", &self.next).finish_non_exhaustive()
    }
}
