//! One pass through the flow: request → command → decide → events → append → evolve → effects → reply.
//!
//! `container.rs` is that sentence as code; `image.rs` and `volume.rs` are the same for what has no effects of its own:
//! the files of images and volumes are made before the first event and removed after the last by whoever asks.

mod container;
mod image;
mod lanes;
mod volume;

use std::time::Duration;

use store::{Append, AppendError, NewEvent, Row, StreamId, Urgency};

use crate::clock;
use crate::domain::container::Rejection;
use crate::engine::Engine;

pub use self::container::Turned;
pub use self::lanes::Lanes;

/// Between the journal's knowing of an event and its publication is one sync.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(30);

/// Why a turn did not happen: an answer, or trouble.
#[derive(Debug, thiserror::Error)]
pub enum TurnError<R = Rejection> {
    #[error("the command was refused")]
    Rejected(R),
    #[error("cannot write the journal")]
    Journal(#[from] AppendError),
}

/// What one turn adds to one stream.
struct Addition {
    stream: StreamId,
    /// The version that was decided on.
    expected: u64,
    /// What is recorded also when the disk is full.
    urgency: Urgency,
    events: Vec<NewEvent>,
    row: Row,
}

impl Engine {
    /// Durable when it returns, and `publish` has run: in journal order, with the sequence number of the last event.
    async fn append(&self, addition: Addition, publish: impl FnOnce(u64) + Send + 'static) -> Result<(), AppendError> {
        let Addition { stream, expected, urgency, events, row } = addition;
        let append = Append {
            stream,
            expected,
            at: clock::now().0,
            urgency,
            events,
            row,
            on_durable: Some(Box::new(move |records| {
                let seq = records.last().map_or(0, |record| record.seq);
                // Listeners answer requests: what they tell of can be read by then.
                Some(Box::new(move || publish(seq)))
            })),
        };
        self.journal.append(append).await.map(drop)
    }
}
