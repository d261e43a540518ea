//! A turn of a volume.

use std::sync::Arc;

use store::{AppendError, Urgency};
use tokio::time::timeout;

use super::{Addition, CONFLICT_PATIENCE, TurnError};
use crate::domain::id::VolumeName;
use crate::domain::volume::{Command, Event, Rejection, Volume, decide, evolve};
use crate::engine::Engine;
use crate::journal::record::{self, Context};

/// What a turn of a volume has led to.
#[derive(Debug)]
pub struct TurnedVolume {
    /// The volume after it; `None` when it is gone.
    pub volume: Option<Volume>,
    /// What has happened; empty when it was already so.
    pub events: Vec<Event>,
}

impl Engine {
    /// One command to a volume, now. Durable and visible when it returns.
    pub async fn turn_volume(
        self: &Arc<Self>,
        name: &VolumeName,
        context: &Context,
        command: &Command,
    ) -> Result<TurnedVolume, TurnError<Rejection>> {
        let records = &self.volumes.records;
        let _lane = records.lanes.enter(name).await;
        let context = Context { name: name.to_string(), image: String::new(), ..context.clone() };
        loop {
            let before = records.get(name).map(|entity| entity.volume.clone());
            let expected = before.as_ref().map_or(0, |volume| volume.version);
            let events = decide(name, before.as_ref(), command).map_err(TurnError::Rejected)?;
            let after = events.iter().fold(before, evolve);
            if events.is_empty() {
                return Ok(TurnedVolume { volume: after, events });
            }
            for event in &events {
                tracing::info!(volume = %name, event = event.name(), operation = %context.operation, "turn");
            }
            let addition = Addition {
                stream: record::volume_stream(name),
                expected,
                urgency: if events.iter().all(is_urgent) { Urgency::Urgent } else { Urgency::Ordinary },
                events: events.iter().map(|event| record::volume::encode(&context, event)).collect(),
                row: after.as_ref().map_or(store::Row::Delete, record::volume::encode_row),
            };
            let (engine, key, published) = (self.clone(), name.clone(), after.clone());
            match self.append(addition, move |seq| engine.volumes.records.publish(&key, published, seq)).await {
                // A turn whose caller went away is being recorded still: decide again on what it leads to.
                Err(error @ AppendError::Conflict { .. }) => {
                    timeout(CONFLICT_PATIENCE, records.changed_since(name, expected)).await.map_err(|_| error)?;
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(TurnedVolume { volume: after, events }),
            }
        }
    }
}

/// What frees something must be recorded also when the disk is full.
fn is_urgent(event: &Event) -> bool {
    match event {
        Event::Created { .. } => false,
        Event::RemoveRequested | Event::Removed => true,
    }
}
