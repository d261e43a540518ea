//! A turn of an image.

use std::sync::Arc;

use store::AppendError;
use tokio::time::timeout;

use super::{Addition, CONFLICT_PATIENCE, TurnError};
use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::{Command, Event, Image, Rejection, decide, evolve};
use crate::engine::Engine;
use crate::journal::record::{self, Context};

/// What a turn of an image has led to.
#[derive(Debug)]
pub struct TurnedImage {
    /// The image after it; `None` when it is gone.
    pub image: Option<Image>,
    /// What has happened; empty when it was already so.
    pub events: Vec<Event>,
}

impl Engine {
    /// One command to an image, now. Durable and visible when it returns.
    pub async fn turn_image(
        self: &Arc<Self>,
        id: Digest,
        context: &Context,
        command: &Command,
    ) -> Result<TurnedImage, TurnError<Rejection>> {
        let _lane = self.images.lanes.enter(&id).await;
        loop {
            let before = self.images.get(&id).map(|entity| entity.image.clone());
            let expected = before.as_ref().map_or(0, |image| image.version);
            let events = decide(id, before.as_ref(), command).map_err(TurnError::Rejected)?;
            if events.is_empty() {
                return Ok(TurnedImage { image: before, events });
            }
            let context = describe(context, before.as_ref(), &events);
            let after = events.iter().fold(before, evolve);
            for event in &events {
                let (event, image) = (event.name(), &context.image);
                tracing::info!(image_id = %id.short(), event, %image, operation = %context.operation, "turn");
            }
            let addition = Addition {
                stream: record::image_stream(&id),
                expected,
                urgent: events.iter().all(is_urgent),
                events: events.iter().map(|event| record::image::encode(&context, event)).collect(),
                row: after.as_ref().map_or(store::Row::Delete, record::image::encode_row),
            };
            let (engine, published) = (self.clone(), after.clone());
            match self.append(addition, move |seq| engine.images.publish(id, published, seq)).await {
                // A turn whose caller went away is being recorded still: decide again on what it leads to.
                Err(error @ AppendError::Conflict { .. }) => {
                    timeout(CONFLICT_PATIENCE, self.images.changed_since(&id, expected)).await.map_err(|_| error)?;
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(TurnedImage { image: after, events }),
            }
        }
    }

    /// Notes in the image's row that it was used at this time: no event, and nothing is lost if it is. An image that is gone,
    /// or that changes at this moment, is not touched.
    pub async fn save_image_row(self: &Arc<Self>, id: Digest, used_at: Timestamp) -> Result<(), AppendError> {
        let _lane = self.images.lanes.enter(&id).await;
        let Some(mut image) = self.images.get(&id).map(|entity| entity.image.clone()) else { return Ok(()) };
        if image.facts.used_at >= used_at {
            return Ok(());
        }
        image.facts.used_at = used_at;
        let version = image.version;
        let addition = Addition {
            stream: record::image_stream(&id),
            expected: version,
            urgent: false,
            events: vec![],
            row: record::image::encode_row(&image),
        };
        let engine = self.clone();
        match self.append(addition, move |_| engine.images.used(&id, version, used_at)).await {
            Err(AppendError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// The context with a name of the image, by which an event is readable when the image is gone.
fn describe(context: &Context, before: Option<&Image>, events: &[Event]) -> Context {
    let told = events.iter().find_map(|event| match event {
        Event::Added { names, .. } => names.first().cloned(),
        Event::Tagged { name, .. } | Event::Untagged { name } => Some(name.clone()),
        Event::Removed => None,
    });
    let held = || before.and_then(|image| image.names.first()).map(|held| held.name.clone());
    Context { name: String::new(), image: told.or_else(held).unwrap_or_default(), ..context.clone() }
}

/// What frees something must be recorded also when the disk is full.
fn is_urgent(event: &Event) -> bool {
    match event {
        Event::Added { .. } | Event::Tagged { .. } => false,
        Event::Untagged { .. } | Event::Removed => true,
    }
}
